"""A config's numbers, texts and lists are bounded before anything is made of them."""

from __future__ import annotations

import json

import pytest

from tests.models.configs import TINY
from tfcli.models.errors import ModelError
from tfcli.models.limits import MAX_LAYERS
from tfcli.models.registry import read_config


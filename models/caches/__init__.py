"""Stores: how one layer's keys and values are kept between forward passes."""

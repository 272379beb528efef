"""Every limit on what comes from outside, in one place; docs/security.md's table is made from it.

The sizes are far above those of what is in use, and what is within them all is read in seconds.
"""

from __future__ import annotations

from tfcli.models.limits import (
    LIMIT,
    MAX_CONFIG_DEPTH,
    MAX_CONFIG_TEXT,
    MAX_EXPERTS,
    MAX_LABELS,
    MAX_LAYERS,
    MAX_POWER,
    MAX_VALUES_OVER,
    Limit,
)

__all__ = [
    "LIMIT",
    "MAX_CONFIG_DEPTH",
    "MAX_CONFIG_TEXT",
    "MAX_EXPERTS",
    "MAX_LABELS",
    "MAX_LAYERS",
    "MAX_POWER",
    "MAX_VALUES_OVER",
    "Limit",
]

MAX_JSON = Limit(100_000_000, "bytes", "a file of JSON that is parsed")
JSON_BUDGET = Limit(160_000_000, "bytes of memory", "what is made of JSON from a checkpoint")
LARGE_JSON_BUDGET = Limit(1_500_000_000, "bytes of memory", "what is made of a vocabulary's JSON")
MAX_JSON_DEPTH = Limit(100, "levels", "lists and objects in JSON")

MAX_VOCABULARY = Limit(64 << 20, "bytes", "a vocabulary file")
MAX_TOKENIZER_JSON = Limit(96 << 20, "bytes", "a tokenizer.json")
MAX_SIDE = Limit(16 << 20, "bytes", "another JSON file beside the weights")
MAX_TEMPLATE = Limit(1_000_000, "bytes", "the file of a chat template")
MAX_MODULE = Limit(1 << 30, "bytes", "the weights of a sentence-transformers module")
MAX_ENTRIES = Limit(2_000_000, "commas", "a JSON file of a vocabulary")
MAX_LISTS = Limit(1 << 20, "lists or objects", "a JSON file of a vocabulary")
MAX_TOKENS = Limit(1 << 22, "tokens", "a vocabulary")
MAX_ID = Limit(1 << 24, "", "the id of a token, and what is below it")
MAX_TOKEN = Limit(4_096, "characters", "a token")
MAX_SPLITS = Limit(1 << 31, "", "the squared lengths of all tokens, where merges are looked for")

MAX_PATTERN = Limit(4_000, "characters", "a regular expression of a tokenizer")
MAX_PATTERN_DEPTH = Limit(20, "levels", "the groups of one")
MAX_PATTERN_PARTS = Limit(1_000, "parts", "one whose counts are written out")
MAX_PATTERN_WAYS = Limit(4_096, "ways", "one to match the same text")
MAX_STEPS = Limit(64, "steps", "the normalizer of a tokenizer, its decoder and so on, each")
MAX_STEP_DEPTH = Limit(4, "levels", "sequences of steps in sequences")
MAX_STEP_TEXT = Limit(1_000, "characters", "a text that a step puts in or looks for")
MAX_STEP_GROWTH = Limit(1 << 20, "times", "what steps make of a text that is made for it")
MAX_GROWTH = Limit(64, "times", "what steps make of single letters and of what they look for")
MAX_AROUND = Limit(1_000, "ids", "what stands before and after each text")
MAX_MAPPED = Limit(256, "bytes", "what a character map puts for a few letters")
MAX_AFFIX = Limit(64, "characters", "what a vocabulary puts to each part of a word")
MAX_WORD = Limit(2_000, "characters", "a word that a WordPiece vocabulary divides")

MAX_CHAT_TEMPLATE = Limit(60_000, "characters", "a chat template that is rendered")
CHAT_SECONDS = Limit(2, "seconds of processor time", "one rendering of a chat template")
CHAT_WALL = Limit(60, "seconds", "one rendering of a chat template")
CHAT_TEXT = Limit(10_000_000, "characters", "the text of one rendering")
CHAT_MEMORY = Limit(300_000_000, "bytes of memory", "one rendering, beside the conversation")

MAX_RECIPE = Limit(1_000_000, "bytes", "a recipe")
MAX_RECIPE_KEYS = Limit(20_000, "keys", "a recipe, once its aliases are expanded")
MAX_PIPE = Limit(1 << 32, "bytes", "text that comes through a pipe")
MAX_TABLE = Limit(1 << 28, "bytes", "the texts of a .parquet file, beside what follows")
MAX_TABLE_GROWTH = Limit(64, "times", "the texts of a .parquet file, beside its own size")

MAX_MEDIA = Limit(1 << 35, "bytes", "a file of audio or video")
MAX_SAMPLING_RATE = Limit(768_000, "Hz", "the sampling rate of audio")
MAX_CHANNELS = Limit(64, "channels", "audio")
MAX_AUDIO_SAMPLES = Limit(1 << 28, "samples", "audio, at the rate of the model (4.6 h at 16 kHz)")
MAX_VIDEO_FRAMES = Limit(1 << 22, "frames", "a video (38 h at 30 a second)")
MAX_FRAME_PIXELS = Limit(1 << 25, "pixels", "a frame of a video (8K has 33,177,600)")
MAX_FRAME_BYTES = Limit(1 << 32, "bytes of memory", "the frames that are taken from a video")
MAX_DECODED_SAMPLES = Limit(1 << 31, "samples", "audio as it is stored, all channels together")
MAX_IMAGE_FILE = Limit(1 << 28, "bytes", "an image file")
MAX_PIXELS = Limit(1 << 27, "pixels", "an image")
MAX_SMALL_PIXELS = Limit(1 << 25, "pixels", "an image of a small file")
MAX_PIXEL_GROWTH = Limit(64, "pixels a byte", "an image of a file that is larger")
MAX_MADE_PIXELS = Limit(1 << 25, "pixels", "what is made of one image for a model")
MAX_TILES = Limit(1_024, "tiles", "what an image is cut into, before each is resized")
MAX_FEATURES = Limit(1 << 20, "tokens", "what stands for an image or a video in a text")

MAX_CHOICES = Limit(16, "answers", "what a request to the server asks for")
MAX_LOGPROBS = Limit(20, "tokens", "the likeliest at each place, in an answer of the server")
MAX_PROMPTS = Limit(64, "prompts", "a request to the server")
MAX_TEXTS = Limit(1_024, "texts", "a request for vectors or a rerank")

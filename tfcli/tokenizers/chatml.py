"""ChatML: the chat template of new models (OpenAI 2023)."""

from __future__ import annotations

IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
CHATML_TOKENS = (IM_START, IM_END)
"""A message begins and ends with them."""
CHATML_ROLES = {"eot_token": IM_END}
"""The end of a turn is not that of a document: plain text ends as it does without a template, and
a model that writes ends at either."""

CHATML = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- set text = message.content | default('') %}
    {%- if text is not string %}
        {%- set text = text | map(attribute='text') | join('\\n') %}
    {%- endif %}
    {%- if message.role == 'assistant' %}
        {%- generation %}{{ text + '<|im_end|>' }}{% endgeneration %}
    {%- else %}
        {{- text + '<|im_end|>' }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""It takes any roles in any order, and marks what the assistant writes, for training on that."""

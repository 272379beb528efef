"""What is said of a budget of bits, and how it was spent."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Spent(BaseModel):
    """What linears that go together got."""

    model_config = ConfigDict(frozen=True)

    linears: list[str] = Field(description="Their full names.")
    width: str = Field(description="Bits and group size, or a type of GGUF, as overrides name it.")
    bytes: int = Field(description="What they take.")
    forecast: float = Field(
        description="The KL divergence that they add to the model's, nats a word."
    )


class Budget(BaseModel):
    """How bits were given out to linears, and what that costs."""

    model_config = ConfigDict(frozen=True)

    bytes: int = Field(
        description="What the linears of blocks could take; a head has the width that it is given."
    )
    used: int = Field(description="What they take, with scales and zero points.")
    forecast: float = Field(
        description="KL(dense || quantized) of predicted words as it was foreseen for the linears "
        "of blocks, nats a word."
    )
    kl_divergence: float = Field(
        description="The same, measured on windows of the calibration text that were held out, "
        "with a head that is quantized too."
    )
    tokens: int = Field(
        description="Words that are predicted in those windows: each after those before it, of an "
        "encoder those that were masked."
    )
    groups: list[Spent] = Field(
        description="What each group of linears got: those that share inputs go together."
    )

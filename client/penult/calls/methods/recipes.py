"""The published training set-ups that a finetuning can be asked for by name: ``client.recipes()``."""

from dataclasses import dataclass

from penult.calls.methods.named import NamedMethod, NamedMethods, said, with_list
from penult.wire.decode import finetune_spec
from penult_proto import recipes as known


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RecipeInfo(NamedMethod):
    """A training set-up that `Client.finetune` knows by name.

    ``.sets`` has the arguments of `Client.finetune` that it stands for: ``client.finetune(**recipe.sets)`` is the same
    run as ``client.finetune(recipe=recipe.name)``.
    """


class Recipes(NamedMethods[RecipeInfo]):
    """Several of them, in the order of the documentation: ``client.recipes()["labonte2024-waterbirds"]``."""

    __slots__ = ()


def recipes() -> Recipes:
    """All of them."""
    return Recipes(
        RecipeInfo(
            name=name,
            sentence=one.sentence,
            source=one.source,
            sets={key: value for key, value in finetune_spec(one.request).arguments().items() if value != ""},
        )
        for name, one in known.RECIPES.items()
    )


with_recipes = with_list("recipes", [said(name, one.sentence, one.source) for name, one in known.RECIPES.items()])
"""Put the list of recipes in place of the line ``[recipes]`` of a docstring."""

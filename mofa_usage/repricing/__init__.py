"""What calls would have cost: prices of a book joined with the token columns of many calls at once.

`quoting` asks a price book once for each kind of call, `charges` has its rules as SQL, and `parts` puts them together:
every call with the parts of its price. What gives calls other money is a step (`steps`): `priced` by a book, at the
price of another model (`what_if`), `converting` it into one currency. `against` has both prices beside each other.
"""

from mofa_usage.repricing.against import against_recorded
from mofa_usage.repricing.converting import conversions
from mofa_usage.repricing.parts import AsOf, with_parts
from mofa_usage.repricing.priced import prices
from mofa_usage.repricing.steps import Step
from mofa_usage.repricing.what_if import Factor, other_models

__all__ = ["AsOf", "Factor", "Step", "against_recorded", "conversions", "other_models", "prices", "with_parts"]

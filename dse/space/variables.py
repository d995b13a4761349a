"""Design variables: ranges, choices, and the conditions under which they are active.

A variable is *active* where its condition on earlier variables holds, and a choice is *allowed* where its own
needs hold; an inactive variable is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dse.core.errors import SpaceError, UnitError, nearest
from dse.core.units import parse, show

KINDS: Final = ("categorical", "ordinal", "int", "float")


Value = str | float


# SI unit of each design variable that carries one.
VARIABLE_UNITS: Final = {
    "compute_area": "m2", "sram": "B", "clock": "1/s", "pnm_flops": "FLOP/s", "link_bandwidth": "B/s",
    "npu_area": "m2", "npu_sram": "B", "npu_clock": "1/s", "dram_capacity": "B", "bond_pitch": "m",
}  # fmt: skip


@dataclass(frozen=True)
class Variable:
    """One design variable: its range or choices, and when it is active."""

    name: str
    kind: str
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    active_if: Mapping[str, frozenset[Value]] = field(default_factory=dict)
    needs: Mapping[Value, Mapping[str, frozenset[Value]]] = field(default_factory=dict)
    grid: tuple[Value, ...] = ()

    @property
    def unit(self) -> str:
        """SI unit, ``"1"`` for a pure number."""
        return VARIABLE_UNITS.get(self.name, "1")

    @property
    def discrete(self) -> bool:
        """Whether the variable picks from a list."""
        return self.kind in {"categorical", "ordinal"}

    def text(self, value: Value) -> str:
        """A value for a person, with its unit; memories are sized in binary units."""
        if isinstance(value, str):
            return value
        if self.unit == "B":
            size, prefix = (2.0**30, "GiB") if value >= 2.0**30 else (2.0**20, "MiB")
            return f"{float(value) / size:.4g} {prefix}"
        return show(float(value), self.unit)

    def is_active(self, values: Mapping[str, Value]) -> bool:
        """Whether every condition on earlier variables holds."""
        return all(values.get(name) in allowed for name, allowed in self.active_if.items())

    def allowed(self, values: Mapping[str, Value]) -> tuple[Value, ...]:
        """Choices whose own needs hold, given earlier values."""
        return tuple(
            c for c in self.choices if all(values.get(n) in ok for n, ok in self.needs.get(c, {}).items())
        )

    def possible_with(self, earlier: str, level: Value) -> bool:
        """Whether a choice is left where an earlier variable has a level, or the variable is absent then."""
        absent = level not in self.active_if.get(earlier, {level})
        return absent or any(level in self.needs.get(c, {}).get(earlier, {level}) for c in self.choices)


def parse_value(variable: Variable, text: object, where: str) -> Value:
    """Read one value of a variable as written by a person.

    Raises:
        SpaceError: not a choice, outside the range, or a wrong unit.

    """
    if variable.kind == "categorical":
        if str(text) not in variable.choices:
            raise SpaceError(
                f"{where}: {variable.name}: got {text!r}, expected "
                f"{nearest(str(text), map(str, variable.choices))}"
            )
        return str(text)
    try:
        si = isinstance(text, int | float) and not isinstance(text, bool)
        number = float(text) if si else parse(str(text), variable.unit)  # type: ignore[arg-type]
    except UnitError as error:
        raise SpaceError(f"{where}: {variable.name}: {error}") from error
    if variable.kind == "ordinal":
        if number not in variable.choices:
            raise SpaceError(
                f"{where}: {variable.name}: got {text!r}, expected one of "
                f"{', '.join(f'{c:g}' for c in variable.choices if not isinstance(c, str))}"
            )
        return number
    slack = 1e-9 * max(abs(variable.low), abs(variable.high))
    if not variable.low - slack <= number <= variable.high + slack:
        raise SpaceError(
            f"{where}: {variable.name}: got {text!r}, expected {variable.text(variable.low)} to "
            f"{variable.text(variable.high)}"
        )
    if variable.kind == "int" and number != int(number):
        raise SpaceError(f"{where}: {variable.name}: got {text!r}, expected a whole number")
    return number

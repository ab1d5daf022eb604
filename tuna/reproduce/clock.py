"""How long a pipeline will take: by what its steps took where they were measured, and by what they take here."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from tuna.console import clock_time
from tuna.reproduce.plan import Step


class Clock:
    """Time by weights: a step's measured minutes, the mean of these for a step without; 1 each where none has any."""

    def __init__(self, steps: Sequence[Step], minutes: Mapping[str, float]) -> None:
        known = [minutes[step.recipe] for step in steps if step.recipe in minutes]
        self.measured = bool(known)
        usual = sum(known) / len(known) if known else 1.0
        self.weights = {step.name: float(minutes.get(step.recipe, usual)) for step in steps}

    def forecast(self, left: Sequence[Step], took: Mapping[str, float]) -> list[str]:
        """One line, and an empty one to end it; none without measured minutes. took: seconds of the steps done
        before that did all of their work then.

        >>> from pathlib import Path
        >>> steps = [Step(name, name, (), (), Path()) for name in "ab"]
        >>> Clock(steps, {"a": 10, "b": 20}).forecast(steps[1:], {"a": 1200.0})[0]
        'about 40 min 0 s: 20 min 0 s where it was measured, times 2, as the steps done before took here'
        """
        if not self.measured or not left:
            return []
        minutes = self._of(step.name for step in left)
        before = self._of(took)
        if not before or not sum(took.values()):
            return [f"about {clock_time(60 * minutes)}, as it was measured", ""]
        factor = sum(took.values()) / (60 * before)
        where = f"{clock_time(60 * minutes)} where it was measured, times {factor:.2g}"
        return [f"about {clock_time(60 * minutes * factor)}: {where}, as the steps done before took here", ""]

    def left(self, seconds: float, done: Collection[str], left: Iterable[Step]) -> float:
        """Seconds that the steps ``left`` will take, where those that were ``done`` in this run took ``seconds``.

        >>> from pathlib import Path
        >>> steps = [Step(name, name, (), (), Path()) for name in "ab"]
        >>> Clock(steps, {"a": 10, "b": 20}).left(300.0, ["a"], steps[1:])
        600.0
        """
        return seconds * self._of(step.name for step in left) / self._of(done)

    def _of(self, names: Iterable[str]) -> float:
        return sum(self.weights[name] for name in names)

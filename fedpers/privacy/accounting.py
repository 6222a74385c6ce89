"""How much of the budget is spent: ε for δ after some rounds, by Google's dp-accounting (Rényi differential privacy).

Mironov, "Rényi Differential Privacy", CSF 2017, https://arxiv.org/abs/1702.07476; of sampled clients Wang, Balle and
Kasiviswanathan, "Subsampled Rényi Differential Privacy and Analytical Moments Accountant", AISTATS 2019,
https://arxiv.org/abs/1808.00087 (sampling of a fixed number without replacement).
"""

from collections import Counter
from collections.abc import Callable

from fedpers.privacy.mechanisms import Central, Privacy

EPSILON = "privacy/epsilon"
"""The server's figure: ε after a round."""


class Accountant:
    """Tells ε after each round.

    Args:
        privacy: The mechanism.
        num_clients: Clients that may train.
        num_sampled: Clients that are sampled in a round.
        sample: Returns the clients that are sampled in a round.
    """

    def __init__(
        self, privacy: Privacy, num_clients: int, num_sampled: int, sample: Callable[[int], list[int]]
    ) -> None:
        """Choose what a round is."""
        from dp_accounting import dp_event  # late: it takes half a second

        self._privacy, self._sample = privacy, sample
        event: dp_event.DpEvent = dp_event.GaussianDpEvent(privacy.multiplier)
        if isinstance(privacy, Central) and num_sampled < num_clients:
            event = dp_event.SampledWithoutReplacementDpEvent(num_clients, num_sampled, event)
        self._event = event
        self._times: Counter[int] = Counter()
        self._rounds = 0

    def epsilon(self, round: int) -> float:
        """Return ε of the releases until the end of a round; locally that of the client that was sampled most often.

        Whether a client that was sampled has answered is left out of account: the true ε may be smaller.
        """
        from dp_accounting import privacy_accountant, rdp

        while self._rounds < round:
            self._rounds += 1
            self._times.update(self._sample(self._rounds))
        count = round if isinstance(self._privacy, Central) else max(self._times.values())
        accountant = rdp.RdpAccountant(neighboring_relation=privacy_accountant.NeighboringRelation.REPLACE_ONE)
        accountant.compose(self._event, count)
        return float(accountant.get_epsilon(self._privacy.delta))

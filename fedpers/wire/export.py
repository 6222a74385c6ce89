"""Models taken out of a run: what is deployed on each client, and the global model, written into `models/`.

models/model.json                   what each is made of, and the images that they see
models/client-00003.safetensors     the tensors of client 3's model
models/global.safetensors           those of the global model, where there is one
"""

import json
import math
import shutil
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, MessageType
from flwr.serverapp import Grid

from fedpers.algorithm import Federation, State
from fedpers.assembly import model_specs
from fedpers.config.keys import Config
from fedpers.data.shards import Shards
from fedpers.errors import writing
from fedpers.models.described import FOLDER, FORMAT, LISTING, file_of
from fedpers.models.staged import Staged
from fedpers.results.reading import read_object
from fedpers.state import sha256, size_of, to_bytes
from fedpers.wire import records
from fedpers.wire.carrier import messages

LIMIT = 256 * 10**6
"""Bytes that all models together may take where nobody has said whether to keep them."""

TOGETHER = 32
"""Clients whose models are held in memory at a time."""


class Export:
    """Writes a run's models.

    Args:
        folder: The run directory.
        config: The configuration.
        shards: The prepared data.
        federation: What the server knows before the first round.
        nodes: Node id by client number.
        grid: Reaches the clients.
    """

    def __init__(
        self, folder: Path, config: Config, shards: Shards, federation: Federation, nodes: dict[int, int], grid: Grid
    ) -> None:
        """Decide what is to be kept."""
        self.folder, self._config, self._shards = folder / FOLDER, config, shards
        self._federation, self._nodes, self._grid = federation, nodes, grid
        self.what = config.save
        if config.save == "auto":
            own_machines = config.engine.get("superlink") is None  # from others nothing personal is fetched unasked
            small = size_of(self._base.state_dict()) * len(nodes) < LIMIT
            self.what = "last" if small and own_machines else "none"
        kept = self.folder / LISTING  # of a run that goes on
        best = read_object(kept, "").get("val_accuracy") if kept.is_file() else None
        self._best = -math.inf if best is None else float(best)

    @cached_property
    def _base(self) -> Staged:
        return self._federation.model()

    def after_round(
        self,
        round: int,
        arrays: ArrayRecord,
        own: Callable[[int], State],
        val_accuracy: float | None,
        *,
        is_last: bool,
    ) -> None:
        """Write the models if this is the round for it.

        Args:
            round: The round that has ended.
            arrays: What all clients would be sent next.
            own: Tells what a client alone is sent to be scored with.
            val_accuracy: The mean validation accuracy over clients, if they were scored.
            is_last: Whether the run ends with this round.

        Raises:
            UserError: the disk is full, or the folder cannot be written.
        """
        is_due = self.what == "last" and is_last
        if self.what == "best" and val_accuracy is not None and val_accuracy > self._best:
            self._best, is_due = val_accuracy, True
        if is_due:
            with writing(f"the models in {self.folder}", "Make room, or keep none with save=none"):
                self._write(round, arrays, own, val_accuracy)

    def _write(self, round: int, arrays: ArrayRecord, own: Callable[[int], State], val_accuracy: float | None) -> None:
        """Write all into a folder beside, then put it in the place of what is there."""
        scratch = self.folder.with_name(f".{FOLDER}")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        manifest = self._shards.manifest
        listing: dict[str, Any] = {
            "format": FORMAT,
            "round": round,
            "chosen": self.what,
            "val_accuracy": val_accuracy,
            "models": model_specs(self._config),
            "shape": self._shards.shape,
            "num_classes": self._shards.num_classes,
            "dtype": manifest["dtype"],
            "mean": manifest["mean"],
            "std": manifest["std"],
            "clients": {},
        }
        clients = list(self._nodes)
        for start in range(0, len(clients), TOGETHER):
            listing["clients"] |= self._write_clients(scratch, round, arrays, own, clients[start : start + TOGETHER])
        shared = records.from_record(arrays)
        if self._base.state_dict().keys() <= shared.keys():
            stages = [[name, {"stage": name}] for name in self._base.stage_names]
            listing["global"] = {"stages": stages, **_save(scratch / file_of("global"), shared)}
        (scratch / LISTING).write_text(json.dumps(listing, indent=1) + "\n")
        shutil.rmtree(self.folder, ignore_errors=True)
        scratch.replace(self.folder)

    def _write_clients(
        self, folder: Path, round: int, arrays: ArrayRecord, own: Callable[[int], State], clients: Iterable[int]
    ) -> dict[str, Any]:
        nodes = {client: self._nodes[client] for client in clients}
        owners = {node: client for client, node in nodes.items()}
        kind = f"{MessageType.QUERY}.{records.DEPLOYED}"
        found = {}
        for reply in self._grid.send_and_receive(messages(kind, round, arrays, nodes, own)):
            client = owners[reply.metadata.src_node_id]
            if reply.has_error():
                found[str(client)] = {"error": reply.error.reason}
                continue
            text = str(records.select(reply.content, ConfigRecord)[records.CONFIG][records.STAGES])
            tensors = records.view_arrays(reply.content)
            found[str(client)] = {"stages": json.loads(text), **_save(folder / file_of(client), tensors)}
        return dict(sorted(found.items(), key=lambda each: int(each[0])))


def _save(path: Path, tensors: State) -> dict[str, str]:
    data = to_bytes(tensors)
    path.write_bytes(data)
    return {"sha256": sha256(data)}

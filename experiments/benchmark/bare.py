"""The limit: a plain PyTorch loop that makes a workload's steps and nothing else.

No federation: each sampled client starts from the same weights, and what it learns is thrown away. Data lie in memory,
normalized; tensors are channels_last unless asked otherwise; SGD is fused; one PyTorch thread a process. What FedD2S
does beside SGD on labels is in `experiments.benchmark.distilling`.
"""

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmark.distilling import Distilling, Loss
from experiments.benchmark.workloads import Workload
from fedpers import seeds
from fedpers.algorithm import Federation
from fedpers.assembly import build_model
from fedpers.config.keys import Config
from fedpers.data.shards import Shards


def run(workload: Workload, config: Config, shards: Shards, num_processes: int, channels_last: bool) -> list[float]:
    """Return when each round ended, by `time.time()`.

    The sampled clients are those of a real run, dealt to the processes in turn; a round ends when all have finished.
    """
    sampled = _sampled(workload, config)
    if num_processes == 1:
        return _work(config, shards, sampled, 0, 1, channels_last, None)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(num_processes)
    queue: Any = context.Queue()
    arguments = [
        (queue, config, shards, sampled, i, num_processes, channels_last, barrier) for i in range(num_processes)
    ]
    processes = [context.Process(target=_child, args=each) for each in arguments]
    for process in processes:
        process.start()
    ended = [queue.get() for _ in processes]
    for process in processes:
        process.join()
    for outcome in ended:
        if isinstance(outcome, Exception):
            raise outcome
    return [max(times) for times in zip(*ended, strict=True)]


def _sampled(workload: Workload, config: Config) -> list[list[int]]:
    federation = Federation(config, workload.num_clients, 0, (0, 0, 0), lambda: None, {})  # type: ignore[arg-type,return-value]
    return [federation.sample(round) for round in range(1, config.rounds + 1)]


def _child(queue: Any, *arguments: Any) -> None:
    """Work, and say how it went: a child that only died would leave the others and their parent waiting."""
    try:
        queue.put(_work(*arguments))
    except Exception as error:
        arguments[-1].abort()
        queue.put(error)


def _work(
    config: Config,
    shards: Shards,
    sampled: Sequence[Sequence[int]],
    number: int,
    num_processes: int,
    channels_last: bool,
    barrier: Barrier | None,
) -> list[float]:
    torch.set_num_threads(1)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = build_model(config, shards).to(memory_format=layout)
    initial = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    mine = [list(clients)[number::num_processes] for clients in sampled]
    data = {client: _load(shards, client, layout) for client in sorted({c for clients in mine for c in clients})}
    distilling = Distilling.of(config, shards, len(sampled[0]))
    ended = []
    for round, clients in enumerate(mine, start=1):
        if barrier:
            barrier.wait()
        loss = distilling.client_loss(round) if distilling else _loss
        for client in clients:
            generator = seeds.torch_generator(config.seed, "train", round=round, client=client)
            model.load_state_dict(initial)
            _train(model, data[client], config, generator, loss, distilling.clip_norm if distilling else None)
            if distilling:
                distilling.observe(model, data[client][0], round)
        if distilling:
            if barrier:
                barrier.wait()
            if number == 0:
                distilling.train_head(round)
        ended.append(time.time())
    return ended


def _loss(model: nn.Module, inputs: Tensor, labels: Tensor, _: Tensor) -> Tensor:
    return F.cross_entropy(model(inputs), labels)


def _train(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    config: Config,
    generator: torch.Generator,
    loss: Loss,
    clip_norm: float | None,
) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=config.lr, fused=True)
    inputs, labels = data
    for _ in range(config.local_epochs):
        for index in torch.randperm(len(labels), generator=generator).split(config.batch_size):
            optimizer.zero_grad(set_to_none=True)
            loss(model, inputs[index], labels[index], index).backward()
            if clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
            optimizer.step()


def _load(shards: Shards, client: int, layout: torch.memory_format) -> tuple[Tensor, Tensor]:
    train = shards.client(client).train
    return train.inputs.contiguous(memory_format=layout), train.labels

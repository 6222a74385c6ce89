"""FedGen with few numbers."""

from strategies.fedgen import FedGen


def gen(**changes: float) -> FedGen:
    values = {"lambda_gen": 0.5, "lambda_div": 0.1, "noise_size": 3, "generator_hidden": 8}
    values |= {"server_steps": 150, "server_lr": 0.03, "server_batch_size": 16}
    return FedGen(**(values | changes))  # type: ignore[arg-type]

"""The one place that touches Flower's internals: messages need a process identity that only its runtimes set."""

from flwr.supercore.task_identity import TaskIdentity

RUN_ID = 1
SERVER_NODE_ID = 0


def assume_server_identity() -> None:
    """Let this process create Flower messages as the server of the one run it simulates."""
    TaskIdentity.task_id = 1
    TaskIdentity.run_id = RUN_ID
    TaskIdentity.node_id = SERVER_NODE_ID

"""From nearly one class a client to nearly IID: `python -m experiments.heterogeneity`."""

from experiments.machinery import figures
from experiments.machinery.command import as_command
from experiments.machinery.scales import (
    FEDAVG_FT,
    FEDD2S,
    FEDD2S_PLUS,
    LOCAL,
    cifar10,
    cifar10_laptop,
    dirichlet,
    few_samples,
    laptop,
    paper,
    smoke,
)
from experiments.machinery.study import Study

ARMS = (FEDD2S, LOCAL, FEDAVG_FT)
ALPHAS = (0.05, 0.1, 0.3, 0.5, 1.0, 5.0)

SCALES = {
    "smoke": smoke(ARMS, dirichlet(0.1, 1.0, 5.0)),
    "laptop": laptop(ARMS, few_samples(*ALPHAS)),
    "cifar10": cifar10((FEDD2S_PLUS, *ARMS), cifar10_laptop(*ALPHAS)),
    "paper": paper(ARMS, dirichlet(*ALPHAS)),
}

STUDY = Study(
    name="heterogeneity",
    question="How does the gain over training alone depend on how differently the clients' data are distributed?",
    scales=SCALES,
    draw=lambda found, folder: figures.lines(
        found, folder, "heterogeneity", "Dirichlet α (left: few classes a client)", log=True
    ),
)

if __name__ == "__main__":
    as_command(STUDY)

"""Compare five processes with one network, one prediction and one budget.

    python recipes/comparison/compare.py fashion

Isotropic diffusion, heat dissipation, blurring diffusion, noise of equal signal-to-noise ratio, and a custom process
are trained alike, with three seeds where the network predicts the image. The best of four samplers is found for
each process and number of calls with 500 samples of seed 0, which are not those that are reported, and used for all
seeds; with 200 and 1000 calls it is the best with 50, and ancestral steps are measured beside it.

Each model with each sampler is one small file in benchmarks/results/comparison/. What is there is not done again, so
that the command can be stopped at any time, and other machines can add to it; --report writes
docs/measured/comparison.md of what is there. Weights go to runs/comparison/.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import contestants
import trials
from contestants import NOISE_IS_STABLE, PROCESSES, STUDIES, Model, Study
from report import write_report
from trials import STEPPERS, TRIED, Bench

from unmelt.core.configuration import Reader
from unmelt.evaluation import EfficientNetFeatures, FeatureNetwork
from unmelt.training import DataSet

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "comparison"
FEW, MANY = (5, 10, 20, 50), (200, 1000)
SAMPLES, SAMPLES_OF_MANY = 2000, 256
SEEDS = (0, 1, 2)
# With many calls this is measured, too: what is best with few need not bear many.
ANCESTRAL = "markov"


def all_models(study: Study) -> list[Model]:
    """Return the models of a study, those of the first seed first."""
    seeds = SEEDS if study.name == "fashion" else SEEDS[:1]
    by_seed = [Model(study, process, "x", seed) for seed in seeds for process in PROCESSES]
    return by_seed + [Model(study, process, "epsilon", 0) for process in NOISE_IS_STABLE]


def best(results: Path, model: Model, calls: int) -> str:
    """Return the sampler that a process is best drawn with in so many calls, by the Frechet distance of 500 samples.

    Raises:
        FileNotFoundError: they have not all been tried.
    """
    first = f"{model.process}_{model.prediction}_0"
    calls = min(calls, FEW[-1])

    def distance(name: str) -> float:
        tried = json.loads(_cell(results, first, name, calls, TRIED).read_text())
        return tried["report"]["features"]["frechet"]["value"]

    return min(STEPPERS, key=distance)


def cells(results: Path, model: Model) -> Iterator[tuple[Path, str, int, int]]:
    """Yield what there is to measure of a model: file, sampler, calls and number of samples; in this order."""
    if model.seed == 0:
        for calls in FEW:
            for name in STEPPERS:
                yield _cell(results, model.name, name, calls, TRIED), name, calls, TRIED
    for calls in FEW:
        name = best(results, model, calls)
        yield _cell(results, model.name, name, calls, SAMPLES), name, calls, SAMPLES
    if model.seed == 0 and model.prediction == "x" and model.study.name == "fashion":
        for calls in MANY:
            for name in dict.fromkeys((best(results, model, calls), ANCESTRAL)):
                yield _cell(results, model.name, name, calls, SAMPLES_OF_MANY), name, calls, SAMPLES_OF_MANY


def _cell(results: Path, model: str, sampler: str, calls: int, count: int) -> Path:
    return results / model / f"{sampler}_{calls}_{count}.json"


def compare(study: Study, chosen: Sequence[Model], results: Path, runs: Path, network: FeatureNetwork) -> None:
    """Train and measure what is missing of some models.

    Args:
        study: data and budget.
        chosen: the models; of a process and prediction that of the first seed before the others.
        results: folder of the files.
        runs: folder of the weights.
        network: makes features.
    """
    bench = Bench(study, SAMPLES, runs / study.name / "looked_at", network)
    for model in chosen:
        for cell, sampler, calls, count in cells(results, model):
            if not cell.is_file():
                # Only now: weights are not kept with results, and are not needed where there are all of these.
                folder = trials.train(model, bench.data, runs)
                trials.measure(model, folder, bench, cell, sampler=sampler, calls=calls, count=count)
                print(f"wrote {cell}", flush=True)


def main() -> None:
    """Do what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=[*STUDIES])
    parser.add_argument("--data", help="the same images elsewhere: \"IDXFiles(folder='FOLDER', low=-1.0)\"")
    parser.add_argument("--own", help="a process of yours in the place of ours, path/to/file.py:Class")
    parser.add_argument("--models", nargs="*", help="models to do, such as heat_x_0; all if not given")
    parser.add_argument("--report", action="store_true", help="only write the report of what is there")
    options = parser.parse_args()
    reader = Reader(trust_code=True)
    if options.own:
        contestants.own_process(options.own, reader.read(options.own, contestants.Make))
    if options.report:
        wanted = {name: [model.name for model in all_models(study)] for name, study in STUDIES.items()}
        write_report(ROOT, RESULTS, wanted)
        return
    study = STUDIES[options.study]
    if options.data:
        study = contestants.with_data(study, reader.read(options.data, DataSet))
    chosen = [model for model in all_models(study) if not options.models or model.name in options.models]
    if not chosen:
        parser.error(f"no such model: there are {', '.join(model.name for model in all_models(study))}")
    compare(study, chosen, RESULTS / study.name, ROOT / "runs" / "comparison", EfficientNetFeatures())


if __name__ == "__main__":
    main()

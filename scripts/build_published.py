"""Build the fit that ships with the package, ``models/published.nc``.

Run ``uv run python scripts/build_published.py`` after any change of ``data/``, of
``models/published.toml`` or of the model itself; ``--check`` builds nothing and exits with status 1
where the file is missing or was fitted to other evidence or another specification. A fit that did
not converge is not written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ketpredict.errors import KetpredictError
from ketpredict.posterior import load_posterior
from ketpredict.published import FILE, SEED, build_published, published_problems
from ketpredict.wording import verdict_words

TARGET = Path(__file__).resolve().parents[1] / "models" / FILE


def main(arguments: Sequence[str] | None = None) -> int:
    """Build or check the file; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare only; build nothing")
    parser.add_argument("--output", type=Path, default=TARGET, help="file to write or check")
    parser.add_argument("--draws", type=int, default=1500, help="kept draws of each chain")
    parser.add_argument("--tune", type=int, default=1500, help="tuning steps of each chain")
    parser.add_argument("--target-accept", type=float, default=0.95, help="as for a fit")
    parser.add_argument("--seed", type=int, default=SEED, help="same seed, same fit")
    parser.add_argument("--kept-draws", type=int, default=2000, help="draws in the file, in all")
    options = parser.parse_args(arguments)
    if options.check:
        problems = published_problems(options.output)
        for problem in problems:
            print(f"{options.output}: {problem}", file=sys.stderr)
        if not problems:
            print(f"{options.output} is up to date.")
        return 1 if problems else 0
    try:
        path = build_published(
            options.output,
            draws=options.draws,
            tune=options.tune,
            target_accept=options.target_accept,
            seed=options.seed,
            kept_draws=options.kept_draws,
            progressbar=sys.stderr.isatty(),
        )
    except KetpredictError as error:
        print(f"Not built: {error}", file=sys.stderr)
        return 1
    posterior = load_posterior(path)
    print(verdict_words(posterior.facts["diagnostics"]))
    print(f"Written: {path}, {posterior.n_draws} draws, {path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

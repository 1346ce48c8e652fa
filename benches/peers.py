#!/usr/bin/env python3
"""Time rbms and scikit-learn on the shapes of benches/rbm.rs, over the bare matrix products, then run benches/rbm.rs.

Both are installed in an environment of their own beside the library's cache (about 6 GB with torch). Where that cannot be done
the script says so and measures the library alone. `make bench-peers`, or `make bench-peers ARGS=--quick`.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import time

RBMS, SKLEARN, TORCH = "rbms==0.6.0", "scikit-learn", f"torch=={os.environ.get('JZ_TORCH', '2.13.0')}"
SHAPES = [(128, 500, 1_000), (500, 1_000, 2_000)]


def environment():
    """The Python of the peers' own environment, or None with the reason printed."""
    home = pathlib.Path(os.environ.get("JZ_CACHE", pathlib.Path.home() / ".cache" / "jarzynski")) / "python-peers"
    python = home / "bin" / "python"
    ready = home / "ready"
    if not ready.exists():
        print(f"installing {RBMS}, {SKLEARN} and {TORCH} (once, some minutes) ...", flush=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            pip = [str(python), "-m", "pip", "install", "--quiet", "--no-cache-dir"]
            subprocess.run([*pip, TORCH, SKLEARN, "h5py", "matplotlib", "numpy", "tqdm"], check=True)
            # it declares Python 3.12; what is measured of it runs on 3.11 as well
            subprocess.run([*pip, "--no-deps", "--ignore-requires-python", RBMS], check=True)
        except (subprocess.CalledProcessError, OSError) as e:
            print(f"SKIPPED the peers: they cannot be installed here ({e}).", flush=True)
            return None
        ready.touch()
    return str(python)


def median(turns, own, bare):
    """Median and quartiles of own/bare over turns, and both medians in ms."""
    own(), bare()
    pairs = []
    for _ in range(turns):
        spent = []
        for f in (own, bare):
            start = time.perf_counter()
            f()
            spent.append(time.perf_counter() - start)
        pairs.append(spent)
    ratio = sorted(a / b for a, b in pairs)
    quartile = lambda share: ratio[round((len(ratio) - 1) * share)]
    a, b = (statistics.median(p[i] for p in pairs) * 1e3 for i in (0, 1))
    return quartile(0.5), quartile(0.25), quartile(0.75), a, b


def show(name, measured):
    m, low, high, a, b = measured
    print(f"{name:<56} {m:>6.2f} {low:>7.2f} … {high:.2f} {a:>9.2f} ms {b:>9.2f} ms", flush=True)


def peers(quick):
    import typing

    typing.override = getattr(typing, "override", lambda f: f)  # Python 3.11 has no such name; it changes nothing
    import sklearn
    import torch
    from importlib.metadata import version
    from rbms.bernoulli_bernoulli.classes import BBRBM
    from sklearn.neural_network import BernoulliRBM

    turns = 3 if quick else 15
    print(f"rbms {version('rbms')}, scikit-learn {sklearn.__version__}, torch {torch.__version__}; all in f32")
    print(f"{'over the bare products':<56} {'ratio':>6} {'quartiles':>14} {'own':>12} {'products':>12}")
    torch.manual_seed(0)
    for hidden, batch, chains in SHAPES:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            label = f"784×{hidden}, {threads} thread{'s' if threads > 1 else ''}"
            image = lambda n: (torch.rand(n, 784) < 0.2).float()
            w, data, v = torch.randn(784, hidden) * 0.01, image(batch), image(chains)
            h, hd = torch.rand(chains, hidden), torch.rand(batch, hidden)

            def products(k, gradient=True):
                for _ in range(k):
                    v @ w, h @ w.T
                if gradient:
                    v @ w, data @ w, v.T @ h, data.T @ hd

            rbm = BBRBM(weight_matrix=w.clone(), vbias=torch.zeros(784), hbias=torch.zeros(hidden))
            for p in rbm.parameters():
                p.grad = torch.zeros_like(p)
            optimiser = torch.optim.SGD(rbm.parameters(), lr=0.01, maximize=True)
            persistent = {"c": rbm.init_chains(num_samples=chains)}

            def update(k):
                # rbms.training.pcd.train without its progress bar and files
                optimiser.zero_grad(set_to_none=False)
                now = rbm.init_chains(num_samples=batch, start_v=data)
                persistent["c"] = rbm.sample_state(chains=persistent["c"], n_steps=k)
                rbm.compute_gradient(data=now, chains=persistent["c"], centered=False)
                optimiser.step()

            with torch.no_grad():
                for k in (1, 10):
                    show(f"rbms, {label}: PCD-{k}", median(turns, lambda: update(k), lambda: products(k)))
                sweeps = lambda: rbm.sample_state(chains=persistent["c"], n_steps=10)
                show(f"rbms, {label}: 10 Gibbs sweeps", median(turns, sweeps, lambda: products(10, False)))

        # its stochastic maximum likelihood is PCD-1 with as many chains as there are data; threads are BLAS's
        x = image(chains).numpy()
        model = BernoulliRBM(n_components=hidden, learning_rate=0.01, batch_size=chains, n_iter=1, random_state=0)
        model.partial_fit(x)
        wn, hn = w.numpy(), h.numpy()

        def five():
            x @ wn, hn @ wn.T, x @ wn, x.T @ hn, x.T @ hn

        show(f"scikit-learn, 784×{hidden}, BLAS threads: PCD-1", median(turns, lambda: model.partial_fit(x), five))


def main():
    quick = "--quick" in sys.argv
    if "--inside" in sys.argv:
        return peers(quick)
    python = environment()
    if python:
        done = subprocess.run([python, __file__, "--inside", *(["--quick"] if quick else [])], check=False)
        if done.returncode:
            print(f"SKIPPED what is left of the peers: they ended with status {done.returncode}.", flush=True)
    print("\nthis library", flush=True)
    cargo = ["cargo", "bench", "--quiet", "--profile", "dev", "--bench", "rbm", "--"]
    sys.exit(subprocess.run([*cargo, *(["--quick"] if quick else [])], check=False).returncode)


if __name__ == "__main__":
    main()

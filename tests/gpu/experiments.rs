//! Run every experiment on a GPU, or on the stand-in for one, at small sizes: nothing there may meet what was left on the CPU.

use crate::mock_cuda;

use jarzynski::experiments::{self, Continuous, Experiment, Go, Output, UlaBias, Work};
use jarzynski::io::frame::column_f64;
use jarzynski::tch::Device;
use mock_cuda::Gpu;

const SMALL: &[(&str, &str)] = &[
    ("ula-bias", "h = [0.1]\nsteps = 60\nwalkers = 500\nseeds = 1"),
    ("mixture", "dim = 3\nwalkers = 100\nmonitor = 100\ndata = 100\nsteps = 20\nevery = 10\nseeds = 1"),
    (
        "digits",
        "net = [8]\nmixed = true\nwalkers = 48\nsteps = 4\nmoves = 1\nanneal_steps = 4\nanneal_walkers = 48\nclassifier_steps = 4\nseeds = 1",
    ),
    ("divergences", "points = 3\nn = [100]\nseeds = 2\ndraws = 500"),
    ("flow-exact", "steps = [8]\neps = [0.5]\nwalkers = 500\nseeds = 1"),
    ("flow-order", "dims = [1, 2]\nlog_steps = [3, 4]\nfit = 0.2\nwalkers = 50\nseeds = 2"),
    (
        "flow-tune",
        "eps = [0.5]\nsteps = [16]\ness = 0.5\nschemes = [\"escorted\", \"euler-mala\"]\nwalkers = 100\nseeds = 1",
    ),
    (
        "flow-learned",
        "sets = [\"gaussians\", \"moons\", \"checkerboard\"]\npoints = 200\nseeds = 1\n\
         [planar]\nwidths = [8]\nupdates = 4\nbatch = 32\nsteps = [4]\nschemes = [\"escorted\", \"rk4-mala\"]\neps = [0.3, 1.0]\nwalkers = 100\n\
         [digits]\nwidths = [8]\nupdates = 4\nbatch = 32\nsteps = [4]\nschemes = [\"escorted\"]\neps = [0.3]\nwalkers = 64",
    ),
    ("continuous", "alpha = [1.0]\nlog_steps = [3, 4]\nlog_reference = 5\nwalkers = 50\nseeds = 2"),
    ("rbm-kernels", "steps = [10]\nwalkers = 100\nseeds = 1\nvisible = 5\nhidden = 3"),
    ("rbm-exact", "steps = 30\nwalkers = 50\nseeds = 1\nevery = 10\nchecks = 2\nreplicates = 2\nhidden = 4"),
    (
        "gaussian-rbm",
        "hidden = [3, 3]\nsteps = 10\nwalkers = 50\nseeds = 1\nevery = 5\npoints = 100\nanneal = [10, 50]",
    ),
    (
        "rbm-mnist",
        "data = \"digits\"\nhidden = 8\nsteps = 10\nbatch = 100\nwalkers = 50\nseeds = 1\nais_steps = 10\nevery = 5\n\
         checkpoints = 2\nclassifier_steps = 4",
    ),
];

/// Only where its data were fetched.
const MNIST: (&str, &str) = (
    "mnist",
    "net = [2, 2, 4, 4]\nwalkers = 16\nsteps = 2\nmoves = 1\nbatch = 16\nanneal_steps = 2\nanneal_walkers = 16\nclassifier_steps = 2\n\
     counts = [40, 20, 10]\nseeds = 1",
);

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "needs Linux, where the stand-in for a GPU is loaded")]
fn every_experiment_runs_on_a_gpu() {
    let gpu = Gpu::get();
    let mut small = SMALL.to_vec();
    match jarzynski::data::mnist(jarzynski::data::Split::Train) {
        Ok(_) => small.push(MNIST),
        Err(e) => eprintln!("SKIPPED: mnist ({e})"),
    }
    let go = Go { device: gpu.device, ..Default::default() };
    for (name, config) in small {
        let dir = tempfile::tempdir().unwrap();
        let entry = experiments::find(name).unwrap();
        let (manifest, _) = entry.run_in(&config.parse().unwrap(), false, dir.path(), &go).unwrap();
        assert_eq!(manifest.device, "cuda:0", "{name}");
        assert!(manifest.tables.iter().all(|t| t.rows > 0), "{name}");
    }
    for entry in experiments::ALL {
        assert!(
            entry.name == MNIST.0 || SMALL.iter().any(|(name, _)| *name == entry.name),
            "{} is missing",
            entry.name
        );
    }
}

fn run<E: Experiment>(name: &str, more: &str, device: Device) -> Output {
    let small = SMALL.iter().find(|(n, _)| *n == name).unwrap().1;
    let mut table: toml::Table = small.parse().unwrap();
    table.extend(more.parse::<toml::Table>().unwrap());
    experiments::configure::<E>(&table, false).unwrap().run_in(&Work::on(device)).unwrap()
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "needs Linux, where the stand-in for a GPU is loaded")]
fn walkers_stay_on_the_gpu_while_they_move() {
    let gpu = Gpu::get();
    let fetched = |more: &str| {
        let run = || run::<Continuous>("continuous", more, gpu.device);
        gpu.counts(run).1.map(|[fetches, numbers, ..]| [fetches, numbers])
    };
    // four times the steps, and not one more number
    assert_eq!(fetched("log_reference = 5"), fetched("log_reference = 7"));
    let fetched = |more: &str| {
        let run = || run::<UlaBias>("ula-bias", more, gpu.device);
        gpu.counts(run).1.map(|[fetches, numbers, ..]| [fetches, numbers])
    };
    assert_eq!(fetched("steps = 60"), fetched("steps = 120"));
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "needs Linux, where the stand-in for a GPU is loaded")]
fn numbers_of_a_gpu_run_are_right() {
    let gpu = Gpu::get();
    let out = run::<UlaBias>("ula-bias", "walkers = 20_000", gpu.device);
    let moments = out.get("moments").unwrap();
    let read = |name: &str| column_f64(moments, name).unwrap();
    let (value, se, exact, biased) = (read("value"), read("se"), read("exact"), read("biased"));
    for i in 0..value.len() {
        let right = if biased[i].is_nan() { exact[i] } else { biased[i] };
        assert!(((value[i] - right) / se[i]).abs() < 5.0, "row {i}: {} ± {}, not {right}", value[i], se[i]);
    }
}

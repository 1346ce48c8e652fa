//! Run every experiment on a GPU, or on the mock of one, at the smallest size: nothing there may meet what was left on the
//! CPU.

#[path = "../../../tests/gpu/mock_cuda/mod.rs"]
mod mock_cuda;

use jarzynski::io::frame::column_f64;
use jarzynski::tch::Device;
use jarzynski_experiments::continuous::Continuous;
use jarzynski_experiments::ula_bias::UlaBias;
use jarzynski_experiments::{Context, Experiment, Output, Size, configure, registry};
use mock_cuda::Gpu;

#[test]
fn every_experiment_runs_on_a_gpu() {
    let gpu = Gpu::get();
    for entry in registry::ALL {
        let dir = tempfile::tempdir().unwrap();
        let manifest = match entry.run(&Default::default(), Size::Small, dir.path(), &Context::on(gpu.device)) {
            Ok(done) => done,
            Err(e) if entry.data.is_some() && e.to_string().contains("make datasets") => {
                eprintln!("SKIPPED: {} ({e})", entry.name);
                continue;
            }
            Err(e) => panic!("{}: {e}", entry.name),
        };
        assert_eq!(manifest.device, "cuda:0", "{}", entry.name);
        assert!(manifest.tables.iter().all(|t| t.rows > 0), "{}", entry.name);
    }
}

fn run<E: Experiment>(more: &str, device: Device) -> Output {
    configure::<E>(&more.parse().unwrap(), Size::Small).unwrap().run_in(&Context::on(device)).unwrap()
}

#[test]
fn walkers_stay_on_the_gpu_while_they_move() {
    let gpu = Gpu::get();
    let fetched = |more: &str| {
        let run = || run::<Continuous>(more, gpu.device);
        gpu.counts(run).1.map(|[fetches, numbers, ..]| [fetches, numbers])
    };
    // four times the steps, and not one more number
    assert_eq!(fetched("log_reference = 5"), fetched("log_reference = 7"));
    let fetched = |more: &str| {
        let run = || run::<UlaBias>(more, gpu.device);
        gpu.counts(run).1.map(|[fetches, numbers, ..]| [fetches, numbers])
    };
    assert_eq!(fetched("steps = 60"), fetched("steps = 120"));
}

#[test]
fn numbers_of_a_gpu_run_are_right() {
    let gpu = Gpu::get();
    let out = run::<UlaBias>("walkers = 20_000", gpu.device);
    let moments = out.get("moments").unwrap();
    let read = |name: &str| column_f64(moments, name).unwrap();
    let (value, se, exact, biased) = (read("value"), read("se"), read("exact"), read("biased"));
    for i in 0..value.len() {
        let right = if biased[i].is_nan() { exact[i] } else { biased[i] };
        assert!(((value[i] - right) / se[i]).abs() < 5.0, "row {i}: {} ± {}, not {right}", value[i], se[i]);
    }
}

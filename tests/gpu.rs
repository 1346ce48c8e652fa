//! Hold a run on a GPU to the same run on the CPU within f32 error; skipped, loudly, where there is none.

use jarzynski::model::{Mlp, Rbm, RbmShape};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::{Energy, Gibbs, Method, Model, Optim, Rng, Run, Settings, Trainer, Ula, device};

fn gpu() -> Option<Device> {
    let found = device("cuda:0");
    if let Err(e) = &found {
        eprintln!("SKIPPED: no GPU to compare with ({e})");
    }
    found.ok()
}

fn settings() -> Settings {
    Settings { walkers: 4_000, steps: 60, lr: 2e-3, optim: Optim::Adam, progress: 0.0, ..Default::default() }
}

fn data() -> Tensor {
    Rng::new(1).normal(&[500, 8], Kind::Float, Device::Cpu) * 0.5 + 1.0
}

/// Another device draws other noise: what agrees are energies at the same points, and averages within their errors.
fn agree(cpu: &Run, gpu: &Run) {
    for name in ["cross_entropy_monitor", "log_z_monitor"] {
        let (a, b) = (cpu.column(name).unwrap(), gpu.column(name).unwrap());
        let se = cpu.column("log_z_monitor_se").unwrap();
        let last = a.len() - 1;
        let z = (a[last] - b[last]) / (se[last] * 2f64.sqrt()).max(1e-3);
        assert!(z.abs() < 5.0, "{name}: {} on the CPU, {} on the GPU", a[last], b[last]);
    }
}

#[test]
fn networks_train_alike_on_a_gpu() {
    let Some(device) = gpu() else { return };
    let train = |device: Device| {
        let mut net = Mlp::new(8, &[64, 64], 1.0, 0, Kind::Float, device).unwrap();
        let x = data();
        let before = net.energy(&x.to_device(device)).to_device(Device::Cpu);
        let trainer = Trainer::new(Ula::new(0.05), Method::Jarzynski { ess_min: 0.5 }).settings(settings());
        let run = trainer.train(&mut net, &x).unwrap();
        assert!(run.finished() && run.walkers.x().device() == device && net.options().1 == device);
        (before, run)
    };
    let ((a, cpu), (b, gpu)) = (train(Device::Cpu), train(device));
    assert!((a - b).abs().max().double_value(&[]) < 1e-4);
    agree(&cpu, &gpu);
}

#[test]
fn machines_train_alike_on_a_gpu_and_are_kept_and_resumed_there() {
    let Some(device) = gpu() else { return };
    let data = Rng::new(5).uniform_tensor(&[500, 12], Kind::Float, Device::Cpu).round();
    let train = |device: Device, dir: Option<&std::path::Path>| {
        let x = data.to_device(device);
        let mut rbm = Rbm::bernoulli(&x, &RbmShape { hidden: 8, ..Default::default() }).unwrap();
        let mut trainer = Trainer::new(Gibbs::new(), Method::Jarzynski { ess_min: 0.5 }).settings(settings());
        trainer.keep = dir.map(jarzynski::Keep::resume);
        trainer.train(&mut rbm, &x).unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let (cpu, gpu) = (train(Device::Cpu, None), train(device, Some(dir.path())));
    agree(&cpu, &gpu);
    let again = train(device, Some(dir.path()));
    assert_eq!(gpu.column("log_z").unwrap(), again.column("log_z").unwrap());
}

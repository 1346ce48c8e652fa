//! Hold a run on a GPU to the same run on the CPU, and count what it moves between the two.
//!
//! Without a GPU a stand-in takes its place: it computes on the CPU, refuses to mix devices as a GPU does, and counts
//! transfers. Without that either (no C++ compiler) the tests skip themselves, loudly.

mod mock_cuda;

use jarzynski::kernel::FlowKernel;
use jarzynski::model::{Cnn, CnnShape, Interpolant, Mlp, MlpShape, Rbm, RbmShape};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::{
    Checkpointing, Energy, Gibbs, Kernel, Mala, Method, Model, Optim, Reversed, Rng, Run, Settings, Trainer, Transport,
    Ula,
};
use mock_cuda::Gpu;

fn settings(steps: usize) -> Settings {
    Settings { walkers: 1_000, steps, lr: 2e-3, optim: Optim::Adam, progress: 0.0, ..Default::default() }
}

fn data() -> Tensor {
    Rng::new(1).normal(&[500, 8], Kind::Float, Device::Cpu) * 0.5 + 1.0
}

/// The largest difference of two runs over their columns of numbers, as a share of the column's largest number.
fn gap(a: &Run, b: &Run) -> f64 {
    let read = |run: &Run| {
        // PCD and CD have no log Z
        let names = ["cross_entropy", "cross_entropy_monitor", "ess", "ess_monitor", "grad_norm"];
        let mut columns: Vec<Vec<f64>> = names.iter().filter_map(|name| run.column(name).ok()).collect();
        // energies alone contain the last bias, whose gradient is zero up to rounding, which Adam magnifies: only their
        // differences mean anything
        let (data, walkers) = (run.column("energy_data").unwrap(), run.column("energy_walkers").unwrap());
        columns.push(data.iter().zip(walkers).map(|(a, b)| a - b).collect());
        columns
    };
    let gaps = read(a).into_iter().zip(read(b)).map(|(a, b)| {
        assert_eq!(a.len(), b.len());
        let known = || a.iter().zip(&b).filter(|(a, b)| a.is_finite() || b.is_finite());
        known().map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / known().map(|(a, _)| a.abs()).fold(1e-300, f64::max)
    });
    gaps.fold(0.0, f64::max)
}

/// Trains on both devices with the same noise; `within` is the largest relative difference allowed.
fn alike<K, M>(gpu: &Gpu, kernel: impl Fn() -> K, method: Method, model: impl Fn(Device) -> M, x: &Tensor, within: f64)
where
    K: Kernel<M>,
    M: Model,
{
    let train = |device: Device, seed: u64| {
        let mut model = model(device);
        let s = Settings { host_noise: true, seed, batch: Some(200), walkers: 300, ..settings(25) };
        let run = Trainer::new(kernel(), method).settings(s).train(&mut model, x).unwrap();
        assert!(
            run.finished() && run.walkers.x().device() == device && model.options().1 == device,
            "{:?}",
            run.outcome
        );
        run
    };
    let (cpu, there) = (train(Device::Cpu, 0), train(gpu.device, 0));
    let (same, other) = (gap(&cpu, &there), gap(&cpu, &train(gpu.device, 1)));
    eprintln!("{method:?} with {:?}: largest relative difference {same:.1e}, to another seed {other:.1e}", kernel());
    assert!(same < within, "{method:?}: {same:e}");
    assert!(other > 2.0 * within, "another seed would pass: {other:e}");
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "needs Linux, where the stand-in for a GPU is loaded")]
fn networks_train_alike_with_the_same_noise() {
    let gpu = Gpu::get();
    let mlp =
        |device| Mlp::new(8, &MlpShape { widths: vec![32, 32], ..Default::default() }, Kind::Float, device).unwrap();
    for method in [Method::Jarzynski { ess_min: 0.5 }, Method::Pcd, Method::Cd { k: 2 }] {
        alike(&gpu, || Ula::new(0.05), method, mlp, &data(), 1e-4);
    }
    alike(&gpu, || Reversed::new(Mala::new(0.05)), Method::Jarzynski { ess_min: 0.5 }, mlp, &data(), 1e-4);
    let cnn = |device| {
        Cnn::new(8, &CnnShape { channels: vec![4, 4, 8, 8], ..Default::default() }, Kind::Float, device).unwrap()
    };
    let images = Rng::new(1).normal(&[500, 64], Kind::Float, Device::Cpu) * 0.5 + 1.0;
    // a real GPU computes convolutions in TF32
    let within = if gpu.is_real() { 2e-2 } else { 1e-4 };
    alike(&gpu, || Ula::new(0.05), Method::Jarzynski { ess_min: 0.5 }, cnn, &images, within);
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "needs Linux, where the stand-in for a GPU is loaded")]
fn machines_train_alike_with_the_same_noise() {
    let gpu = Gpu::get();
    let bits = Rng::new(5).uniform_tensor(&[500, 12], Kind::Float, Device::Cpu).square().round();
    let rbm = |device| Rbm::bernoulli(&bits.to_device(device), &RbmShape { hidden: 8, ..Default::default() }).unwrap();
    for method in [Method::Jarzynski { ess_min: 0.5 }, Method::Pcd] {
        alike(&gpu, Gibbs::new, method, rbm, &bits, 1e-3);
    }
    let x = data();
    let real = |device| Rbm::gaussian(&x.to_device(device), &RbmShape { hidden: 8, ..Default::default() }).unwrap();
    alike(&gpu, Gibbs::new, Method::Jarzynski { ess_min: 0.5 }, real, &x, 1e-3);
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "needs Linux, where the stand-in for a GPU is loaded")]
fn kernels_that_reject_are_resumed_there() {
    let gpu = Gpu::get();
    let x = data();
    let train = |steps: usize, dir: Option<&std::path::Path>| {
        let mut net =
            Mlp::new(8, &MlpShape { widths: vec![16], ..Default::default() }, Kind::Float, gpu.device).unwrap();
        let s = Settings { walkers: 50, ..settings(steps) };
        let mut trainer =
            Trainer::new(Reversed::sweeps(Mala::new(0.5), 2), Method::Jarzynski { ess_min: 0.5 }).settings(s);
        trainer.checkpointing = dir.map(Checkpointing::resume_or_start);
        trainer.train(&mut net, &x).unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let whole = train(12, None);
    assert!(train(5, Some(dir.path())).finished());
    let run = train(12, Some(dir.path()));
    assert!(run.finished(), "{:?}", run.outcome);
    for name in ["acceptance", "log_z", "energy_walkers"] {
        assert_eq!(run.column(name).unwrap()[1..], whole.column(name).unwrap()[1..], "{name}");
    }
    let path = Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7]).unwrap();
    let path = path.on(Kind::Double, gpu.device).unwrap();
    let travel = |keep: Option<Checkpointing>| {
        let mut transport = Transport::new(FlowKernel::named("rk4-mala", 0.5).unwrap(), 12, 100, 1).quiet();
        transport.checkpointing = keep;
        transport.run(&path).unwrap()
    };
    let (whole, dir) = (travel(None), tempfile::tempdir().unwrap());
    assert!(!travel(Some(Checkpointing::resume_or_start(dir.path()).pause_after_steps(5))).finished());
    let run = travel(Some(Checkpointing::resume_or_start(dir.path())));
    assert!(run.finished(), "{:?}", run.outcome);
    for name in ["acceptance", "log_z", "energy_walkers"] {
        assert_eq!(run.column(name).unwrap()[1..], whole.column(name).unwrap()[1..], "{name}");
    }
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "needs Linux, where the stand-in for a GPU is loaded")]
fn an_update_reads_two_blocks_of_numbers_and_sends_nothing() {
    let gpu = Gpu::get();
    let x = data().to_device(gpu.device);
    let count = |method: Method, steps: usize, s: Settings, mala: bool| {
        let mut net =
            Mlp::new(8, &MlpShape { widths: vec![16, 16], ..Default::default() }, Kind::Float, gpu.device).unwrap();
        let s = Settings { walkers: 100, ..s };
        let (run, moved) = gpu.counts(|| match mala {
            true => Trainer::new(Reversed::new(Mala::new(0.05)), method).settings(s).train(&mut net, &x),
            false => Trainer::new(Ula::new(0.05), method).settings(s).train(&mut net, &x),
        });
        let run = run.unwrap();
        assert!(run.finished() && run.stats.height() == steps + 1);
        (run, moved)
    };
    let free = |steps| Settings { trust_region: Some(jarzynski::train::TrustRegion::Unlimited), ..settings(steps) };
    let exact = Method::Jarzynski { ess_min: 0.0 };
    for (method, mala, reads) in
        [(exact, false, 2), (exact, true, 2), (Method::Pcd, false, 2), (Method::Cd { k: 1 }, false, 1)]
    {
        let ((_, short), (_, long)) = (count(method, 20, free(20), mala), count(method, 40, free(40), mala));
        let (Some(short), Some(long)) = (short, long) else { return };
        let more: Vec<u64> = long.iter().zip(short).map(|(a, b)| a - b).collect();
        let (kernel, each) = (if mala { "MALA" } else { "ULA" }, more[4] / 20);
        eprintln!(
            "{method:?}, {kernel}: 20 updates more are {} reads of {} numbers, {} sent, {each} operations each",
            more[0], more[1], more[2]
        );
        // ULA's curvature is looked at in every 50th row only: not between these
        assert_eq!((more[0], more[2]), (20 * reads, 0), "{method:?}");
        assert!(more[1] <= 20 * 20, "{method:?}: {} numbers", more[1]);
    }
    // a trial of the ESS limit is one more; a resampling reads the weights and looks again; after one, a recorded row reads
    // them for the bar that lineages tell
    let s = Settings { lr: 0.1, ..settings(40) };
    let (run, moved) = count(Method::Jarzynski { ess_min: 0.9 }, 40, s, false);
    let total = |name: &str| run.column(name).unwrap().iter().sum::<f64>() as u64;
    let resampled = total("resampled") + total("resampled_monitor");
    let most = 10 + 3 * 41 + total("backtracks") + 4 * resampled;
    let Some(moved) = moved else { return };
    eprintln!("{} reads, {} trials, {resampled} resamplings", moved[0], total("backtracks"));
    assert!(resampled > 0 && moved[0] <= most, "{} > {most}", moved[0]);
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "needs Linux, where the stand-in for a GPU is loaded")]
fn a_step_of_a_transport_reads_one_block_of_numbers() {
    let gpu = Gpu::get();
    let path = Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7]).unwrap();
    let path = path.on(Kind::Double, gpu.device).unwrap();
    for name in ["escorted", "heun", "matched", "euler-ula", "rk4-mala"] {
        let travel = |steps: usize, every: usize| {
            let kernel = FlowKernel::named(name, 0.5).unwrap();
            let transport = Transport::new(kernel, steps, 200, 1).every(every).quiet();
            let (run, moved) = gpu.counts(|| transport.run(&path).unwrap());
            assert!(run.finished() && run.walkers.x().device() == gpu.device);
            moved.map(|m| m[0])
        };
        let (Some(short), Some(long), Some(rows)) = (travel(8, 1000), travel(16, 1000), travel(16, 1)) else { return };
        // maps by a flow look whether they fold
        let reads = if name.starts_with("euler") || name.starts_with("rk4") { 2 } else { 1 };
        assert_eq!((long - short, rows - long), (8 * reads, 15), "{name}");
    }
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "needs Linux, where the stand-in for a GPU is loaded")]
fn batches_are_sent_once_an_epoch() {
    let gpu = Gpu::get();
    let x = data();
    let train = |steps| {
        let mut net =
            Mlp::new(8, &MlpShape { widths: vec![16], ..Default::default() }, Kind::Float, gpu.device).unwrap();
        let s = Settings { batch: Some(100), walkers: 50, ..settings(steps) };
        gpu.counts(|| Trainer::new(Ula::new(0.05), Method::Pcd).settings(s).train(&mut net, &x).unwrap()).1
    };
    if let (Some(short), Some(long)) = (train(5), train(45)) {
        assert_eq!(long[2] - short[2], 8);
    }
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "needs Linux, where the stand-in for a GPU is loaded")]
fn machines_are_exact_on_a_gpu_and_are_kept_and_resumed_there() {
    let gpu = Gpu::get();
    let x = Rng::new(5).uniform_tensor(&[500, 12], Kind::Float, Device::Cpu).round().to_device(gpu.device);
    let train = |dir: Option<&std::path::Path>| {
        let mut rbm = Rbm::bernoulli(&x, &RbmShape { hidden: 8, ..Default::default() }).unwrap();
        let s = Settings { walkers: 4_000, lr: 0.02, ..settings(60) };
        let mut trainer = Trainer::new(Gibbs::new(), Method::Jarzynski { ess_min: 0.5 }).settings(s);
        trainer.checkpointing = dir.map(Checkpointing::resume_or_start);
        let run = trainer.train(&mut rbm, &x).unwrap();
        (rbm, run)
    };
    let dir = tempfile::tempdir().unwrap();
    let (rbm, run) = train(Some(dir.path()));
    assert!(run.finished() && run.walkers.x().device() == gpu.device);
    let (exact, z) = (rbm.exact_log_z().unwrap(), run.log_z().unwrap());
    assert!(((z.value - exact) / z.se).abs() < 5.0, "log Z {z}, exactly {exact}");
    assert!((exact - (20.0 * 2f64.ln())).abs() > 10.0 * z.se, "a machine that did not learn would pass");
    let (_, again) = train(Some(dir.path()));
    assert_eq!(run.column("log_z").unwrap(), again.column("log_z").unwrap());
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "needs Linux, where the stand-in for a GPU is loaded")]
fn energies_are_the_same_at_the_same_points() {
    let gpu = Gpu::get();
    let x = data();
    let net =
        |device| Mlp::new(8, &MlpShape { widths: vec![64, 64], ..Default::default() }, Kind::Float, device).unwrap();
    let moved = |device| {
        let net = net(device);
        // the last layer begins at zero, where any net would agree
        jarzynski::tch::no_grad(|| net.vars().trainable_variables().into_iter().for_each(|mut p| p.copy_(&(&p + 0.1))));
        net.evaluate(&x.to_device(device))
    };
    let (a, b) = (moved(Device::Cpu), moved(gpu.device));
    let gap = |a: &Tensor, b: &Tensor| ((a - b.to_device(Device::Cpu)).abs().max() / a.abs().max()).double_value(&[]);
    assert!(gap(&a.u, &b.u) < 1e-5 && gap(a.grad(), b.grad()) < 1e-5);
    let well = x.square().sum_dim_intlist(-1, false, Kind::Float) * 0.5;
    assert!(gap(&a.u, &well) > 0.1, "the net says nothing");
}

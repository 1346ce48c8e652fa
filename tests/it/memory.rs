//! Hold the estimate of a run's memory to measured peaks, each in a process of its own, and to what is refused.

use jarzynski::density::{Annealed, Energy};
use jarzynski::model::{Mlp, MlpShape, Rbm, RbmShape};
use jarzynski::run::Memory;
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::{Ais, Gibbs, Mala, Method, Model, Optim, Result, Reversed, Rng, Trainer, Transport, Ula};

/// How far above the estimate a peak may be.
const FACTOR: f64 = 3.0;

const CASES: [&str; 6] = ["mala", "ula", "gibbs", "pcd", "transport", "ais"];

fn net() -> Result<Mlp> {
    Mlp::new(100, &MlpShape { widths: vec![256, 256], ..Default::default() }, Kind::Float, Device::Cpu)
}

fn rbm(data: &Tensor) -> Result<Rbm> {
    Rbm::bernoulli(data, &RbmShape { hidden: 300, ..Default::default() })
}

fn noise(n: i64, d: i64) -> Tensor {
    Rng::new(1).uniform_tensor(&[n, d], Kind::Float, Device::Cpu)
}

fn trainer<K>(kernel: K, method: Method, walkers: usize) -> Trainer<K> {
    Trainer::new(kernel, method).walkers(walkers).steps(2).batch(1_000).threads(1).quiet()
}

/// A run with its estimate; `run`: whether it is made.
fn case(name: &str, run: bool) -> Result<Memory> {
    let weighted = Method::Jarzynski { ess_min: 0.5 };
    match name {
        "mala" => {
            let (mut model, data) = (net()?, noise(1_000, 100));
            let of = trainer(Reversed::new(Mala::new(0.01)), weighted, 80_000).optim(Optim::Adam);
            run.then(|| of.train(&mut model, &data)).transpose()?;
            Ok(of.memory(&model))
        }
        "ula" => {
            let (mut model, data) = (net()?, noise(1_000, 100));
            let of = trainer(Ula::new(0.01), weighted, 80_000);
            run.then(|| of.train(&mut model, &data)).transpose()?;
            Ok(of.memory(&model))
        }
        "gibbs" | "pcd" => {
            let data = noise(1_000, 400).round();
            let mut model = rbm(&data)?;
            let method = if name == "pcd" { Method::Pcd } else { weighted };
            let of = trainer(Gibbs::new(), method, 100_000);
            run.then(|| of.train(&mut model, &data)).transpose()?;
            Ok(of.memory(&model))
        }
        "transport" => {
            let model = net()?;
            let path = model.path()?;
            let of = Transport::new(Reversed::new(Mala::new(0.01)), 2, 100_000, 0).ess_min(0.5).quiet();
            run.then(|| of.run(&path)).transpose()?;
            Ok(of.memory(&path))
        }
        _ => {
            let model = rbm(&noise(1_000, 400).round())?;
            run.then(|| Ais::new().steps(2).walkers(100_000).quiet().run(&model)).transpose()?;
            let path = jarzynski::density::LayersPath::to(&model)?.collapsed();
            Ok(Transport::new(Gibbs::new(), 2, 100_000, 0).memory(&path))
        }
    }
}

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()? * 1024.0)
}

/// Not a test of its own: what `peaks_are_within_the_stated_factor` runs in a process of its own.
#[test]
fn a_case_alone() {
    let Ok(name) = std::env::var("JARZYNSKI_MEMORY_CASE") else { return };
    // libtorch's own memory is there before
    let _ = net().unwrap().energy(&noise(10, 100));
    let before = status("VmRSS").unwrap();
    case(&name, true).unwrap();
    println!("peak {}", status("VmHWM").unwrap() - before);
}

#[test]
fn peaks_are_within_the_stated_factor() {
    if status("VmHWM").is_none() {
        println!("skipped: no /proc/self/status here");
        return;
    }
    let mut wrong = Vec::new();
    for name in CASES {
        let out = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "memory::a_case_alone", "--nocapture", "--test-threads", "1"])
            .env("JARZYNSKI_MEMORY_CASE", name)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).to_string();
        let told = text.lines().find_map(|l| l.split("peak ").nth(1)).unwrap_or_else(|| panic!("{name}: {text}"));
        let peak: f64 = told.trim().parse().unwrap();
        let estimate = case(name, false).unwrap();
        let ratio = peak / estimate.bytes() as f64;
        println!("{name}: peak {:.2} GB, estimate {estimate}, ratio {ratio:.2}", peak / 1e9);
        assert!(estimate.bytes() > 200_000_000, "{name}: too small to be measured");
        if !(1.0..FACTOR).contains(&ratio) {
            wrong.push(format!("{name}: peak {peak}, estimate {estimate}, ratio {ratio:.2}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_run_that_cannot_fit_says_so_at_once() {
    let started = std::time::Instant::now();
    // 10¹² walkers
    let many = 1_000_000_000_000;
    let (mut model, data) = (net().unwrap(), noise(10, 100));
    let refused = [
        trainer(Ula::new(0.01), Method::Jarzynski { ess_min: 0.5 }, many).batch(10).train(&mut model, &data).err(),
        trainer(Ula::new(0.01), Method::Cd { k: 1 }, many).batch(10).train(&mut model, &data).err(),
        Transport::new(Reversed::new(Mala::new(0.01)), 2, many, 0).quiet().run(&model.path().unwrap()).err(),
        Ais::new().walkers(many).run(&rbm(&data.round()).unwrap()).err(),
    ];
    for e in refused {
        let e = e.expect("refused").to_string();
        assert!(e.starts_with("memory = ") && e.contains("GB (walkers ") && e.contains("available"), "{e}");
    }
    assert!(started.elapsed().as_secs_f64() < 20.0);
    assert!(model.row_numbers().unwrap().graph == 2 * 512 && model.dim() == 100);
}

//! Measure training of RBMs and plain Gibbs sweeps against the matrix products that none can do without.
//!
//! The two sides take turns in one process, on one thread and on two. `make bench`, or `make bench ARGS='-- --quick 784×128'`.
//! `benches/peers.py` times other libraries on the same shapes, over the same products.

mod timing;

use jarzynski::model::{Rbm, RbmShape};
use jarzynski::tch::{self, Device, Kind, Tensor};
use jarzynski::{Energy, Gibbs, Kernel, Method, Optim, Rng, Settings, Trainer, TrustRegion};
use timing::{Bench, Spent, clock};

const JARZYNSKI: Method = Method::Jarzynski { ess_min: 0.5 };

fn main() {
    let bench = Bench::from_args();
    // first, while this process is small
    memory();
    for shape in [Shape { hidden: 128, batch: 500, chains: 1_000 }, Shape { hidden: 500, batch: 1_000, chains: 2_000 }]
    {
        for threads in [1, 2] {
            let name = format!("784×{}, {threads} thread{}", shape.hidden, if threads > 1 { "s" } else { "" });
            for (k, goal) in [(1, 1.25), (10, 1.10)] {
                bench.row(&format!("{name}: PCD-{k} / products"), Some(goal), |turns| shape.train(k, threads, turns));
            }
            bench.row(&format!("{name}: Gibbs sweeps / products"), None, |turns| shape.sweeps(threads, turns));
            for (k, goal) in [(1, 1.05), (10, 1.05)] {
                bench.row(&format!("{name}: weights, k = {k}: Jarzynski / PCD"), Some(goal), |turns| {
                    shape.weights(k, threads, turns)
                });
            }
            let name = format!("{name}, batch and chains 1,000: natural gradients, limited by the ESS / PCD-1");
            let equal = Shape { batch: 1_000, chains: 1_000, ..shape };
            for (who, method) in [("pcd", Method::Pcd), ("jarzynski", JARZYNSKI)] {
                bench.row(&format!("{name}: {who}"), Some(2.5), |turns| equal.natural(method, threads, turns));
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Shape {
    hidden: i64,
    batch: i64,
    chains: i64,
}

/// Tensors of the shapes that the products need.
struct Products {
    v: Tensor,
    data: Tensor,
    w: Tensor,
    h: Tensor,
    h_data: Tensor,
}

impl Products {
    /// v → h → v, and h of the last v: 2k + 1 products with the chains; 1 with the data; 2 for the gradient.
    fn update(&self, k: usize) {
        self.sweeps(k);
        drop(self.v.matmul(&self.w));
        drop(self.data.matmul(&self.w));
        drop(self.v.tr().matmul(&self.h));
        drop(self.data.tr().matmul(&self.h_data));
    }

    fn sweeps(&self, k: usize) {
        for _ in 0..k {
            drop(self.v.matmul(&self.w));
            drop(self.h.matmul(&self.w.tr()));
        }
    }
}

fn images(n: i64, rng: &mut Rng) -> Tensor {
    rng.uniform_tensor(&[n, 784], Kind::Float, Device::Cpu).lt(0.2).to_kind(Kind::Float)
}

impl Shape {
    fn rbm(&self, data: &Tensor) -> Rbm {
        Rbm::bernoulli(data, &RbmShape { hidden: self.hidden as usize, ..Default::default() }).unwrap()
    }

    fn products(&self) -> Products {
        let mut rng = Rng::new(2);
        let (v, data) = (images(self.chains, &mut rng), images(self.batch, &mut rng));
        let mut uniform = |size: &[i64]| rng.uniform_tensor(size, Kind::Float, Device::Cpu);
        let (w, h, h_data) =
            (uniform(&[784, self.hidden]), uniform(&[self.chains, self.hidden]), uniform(&[self.batch, self.hidden]));
        Products { v, data, w, h, h_data }
    }

    fn settings(&self, steps: usize, threads: usize) -> Settings {
        Settings {
            walkers: self.chains as usize,
            monitor: Some(0),
            steps,
            lr: 0.01,
            batch: Some(self.batch as usize),
            trust_region: Some(TrustRegion::Unlimited),
            every: steps,
            threads,
            progress: 0.0,
            ..Default::default()
        }
    }

    fn time(&self, method: Method, k: usize, threads: usize, steps: usize, data: &Tensor) -> Spent {
        let mut rbm = self.rbm(data);
        let settings = Settings { moves: 1, ..self.settings(steps, threads) };
        let trainer = Trainer::new(Gibbs::sweeps(k), method).settings(settings);
        clock(steps, || assert!(trainer.train(&mut rbm, data).unwrap().finished()))
    }

    fn steps(&self, k: usize) -> usize {
        if k == 1 { 20 } else { 6 }
    }

    fn train(&self, k: usize, threads: usize, turns: usize) -> Vec<(Spent, Spent)> {
        let (data, products, steps) = (images(5_000, &mut Rng::new(1)), self.products(), self.steps(k));
        self.time(Method::Pcd, k, threads, 2, &data);
        let turn = |_| {
            let own = self.time(Method::Pcd, k, threads, steps, &data);
            tch::set_num_threads(threads as i32);
            (own, clock(steps, || (0..steps).for_each(|_| products.update(k))))
        };
        (0..turns.div_ceil(4)).map(turn).collect()
    }

    fn weights(&self, k: usize, threads: usize, turns: usize) -> Vec<(Spent, Spent)> {
        let (data, steps) = (images(5_000, &mut Rng::new(1)), self.steps(k));
        self.time(JARZYNSKI, k, threads, 2, &data);
        let turn = |_| {
            let own = self.time(JARZYNSKI, k, threads, steps, &data);
            (own, self.time(Method::Pcd, k, threads, steps, &data))
        };
        (0..turns.div_ceil(4)).map(turn).collect()
    }

    fn natural(&self, method: Method, threads: usize, turns: usize) -> Vec<(Spent, Spent)> {
        // several rounds of inversions, of which the first updates have more
        let (data, steps) = (images(5_000, &mut Rng::new(1)), 60);
        let settings = Settings {
            optim: Optim::natural(),
            lr: 1.0,
            trust_region: Some(TrustRegion::Shrink { ess: 0.8 }),
            ..self.settings(steps, threads)
        };
        let turn = |_| {
            let mut rbm = self.rbm(&data);
            let trainer = Trainer::new(Gibbs::new(), method).settings(settings.clone());
            let own = clock(steps, || assert!(trainer.train(&mut rbm, &data).unwrap().finished()));
            (own, self.time(Method::Pcd, 1, threads, steps, &data))
        };
        (0..turns.div_ceil(4)).map(turn).collect()
    }

    fn sweeps(&self, threads: usize, turns: usize) -> Vec<(Spent, Spent)> {
        let (mut rng, products) = (Rng::new(1), self.products());
        let rbm = self.rbm(&images(5_000, &mut rng));
        let units = rbm.units();
        let mut at = rbm.evaluate(&images(self.chains, &mut rng));
        let (kernel, k) = (Gibbs::sweeps(10), 10);
        tch::set_num_threads(threads as i32);
        let mut turn = |_| {
            let own = clock(k, || {
                let mv = kernel.forward_unweighted(&units, &at, &mut rng);
                at = units.evaluate(&mv.y);
            });
            (own, clock(k, || products.sweeps(k)))
        };
        (0..turns.div_ceil(4)).map(&mut turn).collect()
    }
}

/// What training adds to this process at its peak, over the bytes of chains and parameters.
fn memory() {
    let read = |key: &str| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find(|l| l.starts_with(key)).unwrap_or("").to_string();
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).map_or(f64::NAN, |kb| kb / 1024.0)
    };
    let shape = Shape { hidden: 500, batch: 1_000, chains: 2_000 };
    let data = images(5_000, &mut Rng::new(1));
    // what libtorch sets up once
    Shape { chains: 10, batch: 10, ..shape }.time(Method::Pcd, 1, 2, 2, &data);
    let (reset, before) = (std::fs::write("/proc/self/clear_refs", "5"), read("VmRSS"));
    if reset.is_err() {
        println!("memory: skipped, this system does not let a process reset its peak");
        return;
    }
    shape.time(Method::Pcd, 1, 2, 20, &data);
    let own = (4 * (shape.chains * 784 + 785 * shape.hidden + 784)) as f64 / 1024.0 / 1024.0;
    let peak = read("VmHWM") - before;
    println!("784×{}, PCD-1: peak {peak:.1} MB over chains + parameters {own:.1} MB: {:.1}", shape.hidden, peak / own);
}

//! Check the trainer: exact weights under every optimiser, pass counts, threads, divergence, self-interaction bias.

use crate::common::{FAR, Measured, z_of};
use jarzynski::model::{Cnn, CnnShape, Gaussian, Mixture, Mlp, MlpShape};
use jarzynski::tch::{self, Device, Kind, Tensor, nn};
use jarzynski::{
    Base, Energy, Evaluation, Kernel, Mala, Method, Model, Optim, Outcome, Result, Reversed, Rng, Run, Schedule,
    Settings, Trainer, TrustRegion, Ula,
};
use std::cell::Cell;

const JARZYNSKI: Method = Method::Jarzynski { ess_min: 0.5 };

fn teacher() -> Mixture {
    Mixture::new(&[vec![-1.5, 0.0], vec![1.5, 0.5]], &[0.3, 0.7]).unwrap()
}

fn student() -> Mixture {
    Mixture::new(&[vec![-1.0, 0.0], vec![1.0, 0.0]], &[0.5, 0.5]).unwrap()
}

fn settings() -> Settings {
    Settings { walkers: 4_000, steps: 60, lr: 0.05, progress: 0.0, ..Default::default() }
}

fn train<K: Kernel<Mixture>>(kernel: K, method: Method, settings: Settings) -> (Mixture, Run) {
    let data = teacher().sample(1_000, &mut Rng::new(77));
    let mut model = student();
    let run = Trainer::new(kernel, method).settings(settings).train(&mut model, &data).unwrap();
    (model, run)
}

/// z of the monitor's log Ẑ and mode mass against the model's closed form.
fn judge(model: &Mixture, run: &Run) -> [f64; 2] {
    let w = run.monitor.as_ref().unwrap();
    let mass = w.mean(&model.responsibilities(w.x()).unwrap().select(1, 0)).unwrap();
    [z_of(&w.log_z(), model.log_z_exact().unwrap()), z_of(&mass, model.masses().double_value(&[0]))]
}

#[test]
fn weights_are_exact_under_every_optimiser_limit_and_option() {
    let base = settings();
    let rows: Vec<(&str, Settings)> = vec![
        ("sgd", base.clone()),
        ("momentum", Settings { optim: Optim::Sgd { momentum: 0.9 }, lr: 0.01, ..base.clone() }),
        ("adam", Settings { optim: Optim::Adam, lr: 0.02, ..base.clone() }),
        ("adamw", Settings { optim: Optim::AdamW { weight_decay: 0.1 }, lr: 0.02, ..base.clone() }),
        ("rmsprop", Settings { optim: Optim::RmsProp, lr: 0.005, ..base.clone() }),
        ("clip, cosine", Settings { clip: Some(0.1), schedule: Schedule::Cosine { end: 0.1 }, ..base.clone() }),
        ("regularised", Settings { regularisation: 0.01, ..base.clone() }),
        ("batch, noise", Settings { batch: Some(64), data_noise: 0.2.into(), ..base.clone() }),
        ("three moves", Settings { moves: 3, ..base.clone() }),
        ("free", Settings { trust_region: Some(TrustRegion::Unlimited), ..base.clone() }),
        (
            "bridge",
            Settings {
                trust_region: Some(TrustRegion::Substeps { ess: 0.9, max: 20 }),
                lr: 1.0,
                steps: 20,
                ..base.clone()
            },
        ),
        (
            "shrink",
            Settings { trust_region: Some(TrustRegion::Shrink { ess: 0.9 }), lr: 2.0, steps: 20, ..base.clone() },
        ),
        ("stratified", Settings { stratified: true, ..base }),
    ];
    for (name, s) in rows {
        let (model, run) = train(Ula::new(0.1), JARZYNSKI, s.clone());
        assert!(run.finished(), "{name}: {:?}", run.outcome);
        let z = judge(&model, &run);
        assert!(z.iter().all(|z| z.abs() < FAR), "{name}, ULA: z = {z:?}");
        let (model, run) = train(Reversed::new(Mala::new(0.2)), JARZYNSKI, s);
        let z = judge(&model, &run);
        assert!(z.iter().all(|z| z.abs() < FAR), "{name}, MALA: z = {z:?}");
    }
}

#[test]
fn unweighted_walkers_fail_the_same_judgement() {
    // PCD's walkers lag behind a fast protocol: their plain mean must be rejected where the weighted one passes.
    let s = Settings { lr: 0.5, steps: 25, trust_region: Some(TrustRegion::Unlimited), ..settings() };
    let (model, run) = train(Ula::new(0.02), Method::Jarzynski { ess_min: 0.0 }, s);
    let w = run.monitor.as_ref().unwrap();
    let x0 = w.x().select(1, 0);
    let exact = model.masses().dot(&model.means().select(1, 0)).double_value(&[]);
    let plain = z_of(&x0, exact);
    let weighted = w.mean(&x0).unwrap();
    assert!(plain.abs() > FAR, "z = {plain}");
    assert!(z_of(&weighted, exact).abs() < FAR, "{weighted}, exact {exact}");
}

#[test]
fn training_reduces_the_exact_cross_entropy_to_the_teachers() {
    let s = Settings { steps: 400, lr: 0.1, ..settings() };
    let (_, run) = train(Ula::new(0.1), JARZYNSKI, s);
    let h = run.column("cross_entropy_exact").unwrap();
    let data = teacher().sample(1_000, &mut Rng::new(77));
    let floor = tch::no_grad(|| teacher().energy(&data)).mean(Kind::Double).double_value(&[]) + teacher().log_z();
    assert!(h[0] - floor > 0.1, "the student must start worse: {} against {floor}", h[0]);
    assert!(h[400] < floor, "a fit to the data beats the teacher on the data: {} against {floor}", h[400]);
}

/// N(m, 1) in 1-D with trainable m, counting the rows that pass, written as a user would.
#[derive(Debug)]
struct Counting {
    vs: nn::VarStore,
    m: Tensor,
    forward: Cell<u64>,
}

impl Counting {
    fn new() -> Self {
        let vs = nn::VarStore::new(Device::Cpu);
        let m = vs.root().zeros("m", &[1]);
        Counting { vs, m, forward: Cell::new(0) }
    }
}

impl jarzynski::Differentiable for Counting {}

impl Energy for Counting {
    fn energy(&self, x: &Tensor) -> Tensor {
        self.forward.set(self.forward.get() + x.size()[0] as u64);
        (x - &self.m).square().sum_dim_intlist(-1, false, None::<Kind>) * 0.5
    }
}

impl Model for Counting {
    fn vars(&self) -> &nn::VarStore {
        &self.vs
    }
    fn vars_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }
    fn base(&self) -> Result<Box<dyn Base>> {
        Ok(Box::new(Gaussian::isotropic(1, 1.0, Kind::Float, Device::Cpu)?))
    }
    fn dim(&self) -> i64 {
        1
    }
}

fn counted<K: Kernel<Counting>>(kernel: K, method: Method, s: Settings) -> (f64, f64, f64, Run) {
    let mut model = Counting::new();
    let data = Rng::new(4).normal(&[30, 1], Kind::Float, Device::Cpu) + 0.5;
    let run = Trainer::new(kernel, method).settings(s).train(&mut model, &data).unwrap();
    let sum = |c: &str| run.column(c).unwrap().iter().sum::<f64>();
    (sum("forward"), sum("backward"), model.forward.get() as f64, run)
}

#[test]
fn one_evaluation_per_walker_and_move_and_the_counter_tells_the_truth() {
    let (n, k, data) = (20.0, 10.0, 30.0);
    let s =
        Settings { walkers: 20, monitor: Some(0), steps: 10, trust_region: Some(TrustRegion::Unlimited), ..settings() };
    // Start: n. Each update: data forward and backward, walkers' θ-backward on the kept graph, one evaluation at y. Once in 50
    // rows the curvature: 7 evaluations of 16 walkers.
    let (f, b, really, _) = counted(Ula::new(0.1), JARZYNSKI, s.clone());
    let curvature = 7.0 * 16.0;
    assert_eq!((f, b), (curvature + n + k * (data + n) + data, curvature + n + k * (data + n + n)));
    assert_eq!(f, really);
    // PCD costs the same; the weights are free.
    let (pf, pb, _, _) = counted(Ula::new(0.1), Method::Pcd, s.clone());
    assert_eq!((pf, pb), (f, b));
    // Every other configuration: the column equals what the model counted itself.
    for (name, s) in [
        ("moves", Settings { moves: 3, ..s.clone() }),
        ("monitor", Settings { monitor: Some(50), ..s.clone() }),
        ("shrink", Settings { trust_region: Some(TrustRegion::Shrink { ess: 0.99 }), lr: 1.0, ..s.clone() }),
        ("bridge", Settings { trust_region: Some(TrustRegion::Substeps { ess: 0.99, max: 9 }), lr: 1.0, ..s.clone() }),
        ("every", Settings { every: 7, ..s.clone() }),
    ] {
        let (f, _, really, _) = counted(Ula::new(0.1), JARZYNSKI, s.clone());
        assert_eq!(f, really, "{name}, ULA");
        let (f, _, really, _) = counted(Ula::new(0.1).reverse_at(jarzynski::ReverseAt::Old), JARZYNSKI, s.clone());
        assert_eq!(f, really, "{name}, ULA at θ_k");
        let (f, _, really, _) = counted(Reversed::new(Mala::new(0.1)), JARZYNSKI, s);
        assert_eq!(f, really, "{name}, MALA");
    }
    let (f, _, really, _) = counted(Ula::new(0.1), Method::Cd { k: 2 }, s.clone());
    assert_eq!(f, really, "CD, ULA");
    let (f, _, really, _) = counted(Reversed::new(Mala::new(0.1)), Method::Cd { k: 2 }, s);
    assert_eq!(f, really, "CD, MALA");
}

#[test]
fn the_limit_holds_and_its_cost_is_in_the_statistics() {
    // Never resampled: resampling at every step would hide the collapse.
    let never = Method::Jarzynski { ess_min: 0.0 };
    let s = Settings { trust_region: Some(TrustRegion::Shrink { ess: 0.9 }), lr: 5.0, steps: 20, ..settings() };
    let (_, run) = train(Ula::new(0.05), never, s.clone());
    let fraction = run.column("step_fraction").unwrap();
    assert!(fraction[1] < 1.0 && run.column("backtracks").unwrap()[1] >= 2.0);
    let free = Settings { trust_region: Some(TrustRegion::Unlimited), ..s.clone() };
    let (_, wild) = train(Ula::new(0.05), never, free);
    let least = |r: &Run| r.column("ess").unwrap().into_iter().fold(1.0, f64::min);
    assert!(least(&run) > least(&wild), "limited {} against free {}", least(&run), least(&wild));
    let bridge = Settings { trust_region: Some(TrustRegion::Substeps { ess: 0.9, max: 50 }), lr: 1.0, ..s };
    let (_, run) = train(Ula::new(0.05), never, bridge);
    assert!(run.column("step_fraction").unwrap()[1..].iter().all(|f| *f == 1.0), "a bridge goes all the way");
    assert!(run.column("substeps").unwrap()[1] > 1.0);
}

#[test]
fn same_seed_same_bits_for_one_and_two_threads() {
    // What the machine offers (libtorch's own setting, rayon's pool) must not matter; what a run requests is its setting.
    let bits = |threads: i32| {
        tch::set_num_threads(threads);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads as usize).build().unwrap();
        let out = pool.install(|| {
            let s = Settings { walkers: 20_000, steps: 5, trust_region: None, ..settings() };
            let (model, run) = train(Ula::new(0.1), JARZYNSKI, s.clone());
            let mut all = vec![model.means(), run.walkers.log_weights().copy(), run.walkers.x().copy()];
            let data = Rng::new(1).normal(&[512, 64], Kind::Float, Device::Cpu) * 0.5;
            let s = Settings { walkers: 1_024, steps: 5, optim: Optim::Adam, lr: 1e-3, batch: Some(256), ..s };
            let mut mlp =
                Mlp::new(64, &MlpShape { widths: vec![128, 128], ..Default::default() }, Kind::Float, Device::Cpu)
                    .unwrap();
            let run = Trainer::new(Reversed::new(Mala::new(0.02)), JARZYNSKI).settings(s.clone());
            let run = run.train(&mut mlp, &data).unwrap();
            all.extend([run.walkers.x().copy(), run.walkers.log_weights().copy()]);
            let mut cnn =
                Cnn::new(8, &CnnShape { channels: vec![8, 8, 16, 16], ..Default::default() }, Kind::Float, Device::Cpu)
                    .unwrap();
            let s = Settings { walkers: 256, ..s };
            let run = Trainer::new(Ula::new(0.01), JARZYNSKI).settings(s).train(&mut cnn, &data).unwrap();
            all.extend([run.walkers.x().copy(), run.walkers.log_weights().copy()]);
            all
        });
        tch::set_num_threads(2);
        out
    };
    for (i, (a, b)) in bits(1).iter().zip(&bits(2)).enumerate() {
        assert!(a.equal(b), "tensor {i} differs by {}", (a - b).abs().max().double_value(&[]));
    }
}

#[test]
fn the_monitor_changes_nothing_else() {
    let (a, _) = train(Ula::new(0.1), JARZYNSKI, Settings { monitor: Some(0), ..settings() });
    let (b, run) = train(Ula::new(0.1), JARZYNSKI, Settings { monitor: Some(700), ..settings() });
    assert!(a.means().equal(&b.means()));
    assert_eq!(run.monitor.unwrap().len(), 700);
}

/// U(x) = |x|²/2 − θ·x in d dimensions: log Z_θ = (d/2) log 2π + |θ|²/2.
#[derive(Debug)]
struct Tilted {
    vs: nn::VarStore,
    theta: Tensor,
}

impl jarzynski::Differentiable for Tilted {}

impl Energy for Tilted {
    fn energy(&self, x: &Tensor) -> Tensor {
        x.square().sum_dim_intlist(-1, false, None::<Kind>) * 0.5 - x.matmul(&self.theta)
    }
    fn evaluate(&self, x: &Tensor) -> Evaluation {
        tch::no_grad(|| Evaluation::new(x.shallow_clone(), self.energy(x), x - &self.theta))
    }
}

impl Model for Tilted {
    fn vars(&self) -> &nn::VarStore {
        &self.vs
    }
    fn vars_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }
    fn base(&self) -> Result<Box<dyn Base>> {
        Ok(Box::new(Gaussian::isotropic(self.dim(), 1.0, Kind::Double, Device::Cpu)?))
    }
    fn dim(&self) -> i64 {
        self.theta.size()[0]
    }
    fn param_grad(&self, at: &mut Evaluation, w: &Tensor) -> Vec<Tensor> {
        vec![-at.x.tr().matmul(w)]
    }
    fn log_z_exact(&self) -> Option<f64> {
        let theta2 = tch::no_grad(|| self.theta.square().sum(Kind::Double)).double_value(&[]);
        Some(0.5 * (theta2 + self.dim() as f64 * (2.0 * std::f64::consts::PI).ln()))
    }
}

#[test]
fn training_walkers_bias_their_own_log_z_and_the_monitor_does_not() {
    // MATHS 3.5: E[log Ẑ − log Z] ≈ −γ Σ_k tr Cov(∂_θU)/N_eff = −γ K d/N; here −.01·300·10/200 = −.15.
    let (d, n, steps, lr, seeds) = (10, 200, 300, 0.01, 60);
    let (mut own, mut cured) = (Vec::new(), Vec::new());
    for seed in 0..seeds {
        let mut vs = nn::VarStore::new(Device::Cpu);
        let theta = vs.root().zeros("theta", &[d]);
        vs.double();
        let mut model = Tilted { vs, theta };
        let data = Rng::new(1_000 + seed).normal(&[n, d], Kind::Double, Device::Cpu);
        let s = Settings {
            walkers: n as usize,
            steps,
            lr,
            every: steps,
            seed,
            trust_region: Some(TrustRegion::Unlimited),
            progress: 0.0,
            ..Default::default()
        };
        let run = Trainer::new(Ula::new(0.2), Method::Jarzynski { ess_min: 0.0 }).settings(s);
        let run = run.train(&mut model, &data).unwrap();
        let exact = model.log_z_exact().unwrap();
        own.push(run.walkers.log_z().value - exact);
        // Ẑ is unbiased for the monitor; log Ẑ is low by half its variance, so judge Ẑ/Z.
        cured.push((run.monitor.unwrap().log_z().value - exact).exp());
    }
    println!("own log Ẑ − log Z = {:.4?}, monitor Ẑ/Z = {:.4?}", own.value_and_se(), cured.value_and_se());
    assert!(z_of(&own, 0.0) < -FAR, "the bias must be visible: {:?}", own.value_and_se());
    assert!(z_of(&cured, 1.0).abs() < FAR, "the monitor must be unbiased: {:?}", cured.value_and_se());
}

#[test]
fn a_diverging_run_returns_its_rows_and_the_cause() {
    let s = Settings { trust_region: Some(TrustRegion::Unlimited), steps: 200, ..settings() };
    let (_, run) = train(Ula::new(50.0), JARZYNSKI, s);
    match &run.outcome {
        Outcome::Diverged { step, cause } => {
            assert!(*step > 0 && cause.contains("not finite"), "{cause}");
            assert_eq!(run.stats.height(), step + 1);
        }
        other => panic!("ULA at h = 50 must diverge, not be {other:?}"),
    }
}

#[test]
fn bad_input_is_refused_by_name() {
    let refuse = |method, s: Settings, data: Tensor, part: &str| {
        let mut model = student();
        let e = Trainer::new(Ula::new(0.1), method).settings(s).train(&mut model, &data).unwrap_err().to_string();
        assert!(e.contains(part), "{e} should name {part}");
    };
    let good = || teacher().sample(10, &mut Rng::new(0));
    refuse(JARZYNSKI, Settings { walkers: 0, ..settings() }, good(), "walkers = 0");
    refuse(JARZYNSKI, Settings { lr: f64::NAN, ..settings() }, good(), "lr = NaN");
    refuse(JARZYNSKI, Settings { every: 0, ..settings() }, good(), "every = 0");
    refuse(
        JARZYNSKI,
        Settings { trust_region: Some(TrustRegion::Shrink { ess: 1.5 }), ..settings() },
        good(),
        "trust_region.ess = 1.5",
    );
    refuse(Method::Jarzynski { ess_min: 2.0 }, settings(), good(), "ess_min = 2");
    refuse(Method::Cd { k: 0 }, settings(), good(), "k = 0");
    refuse(
        Method::Cd { k: 1 },
        Settings { trust_region: Some(TrustRegion::Shrink { ess: 0.9 }), ..settings() },
        good(),
        "TrustRegion::Unlimited",
    );
    refuse(JARZYNSKI, settings(), Tensor::zeros([3, 5], (Kind::Double, Device::Cpu)), "data has shape [3, 5]");
    refuse(JARZYNSKI, settings(), Tensor::from_slice(&[0.0, f64::NAN]).view([1, 2]), "data is not finite in row 0");
    refuse(JARZYNSKI, settings(), Tensor::zeros([0, 2], (Kind::Double, Device::Cpu)), "[n, 2] with n ≥ 1");
}

//! Measure the training step against the same passes in bare tch and print the ratios beside their goals.
//!
//! The two sides take turns in one process, a few steps each, and are compared turn by turn: what else the machine does
//! touches both alike. `make bench`, or `make bench ARGS='-- --quick mlp'` for a smoke run of the rows named so.

mod timing;

use jarzynski::model::{Cnn, CnnShape, Mixture, Mlp, MlpShape};
use jarzynski::tch::nn::{self, Module, OptimizerConfig};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::{Kernel, Mala, Method, Model, Optim, Reversed, Rng, Settings, Trainer, TrustRegion, Ula};
use timing::{Bench, Clock, Spent, clock};

const JARZYNSKI: Method = Method::Jarzynski { ess_min: 0.5 };

fn main() {
    let bench = Bench::from_args();
    steps(&bench);
    recording(&bench);
    extras(&bench);
    normals(&bench);
}

/// 1-3: the library's step over bare tch.
fn steps(bench: &Bench) {
    for (kind, goal) in [(Kind::Double, Some(0.8)), (Kind::Float, None)] {
        bench.row(&format!("mixture 50-D, ULA, {kind:?}: step / bare"), goal, |turns| {
            let (mut model, data, s) = mixture(kind);
            let mut bare = BareMixture::new(&model, &data, &s);
            against(Ula::new(0.1), &mut model, &data, s, turns, 8, || bare.step())
        });
    }
    bench.row("mlp 64-256-256-1, ULA: step / bare", Some(1.05), |turns| {
        let (mut model, data, s) = mlp();
        let mut bare = BareNet::new(data.copy(), s.walkers, 1, mlp_net);
        against(Ula::new(H), &mut model, &data, s, turns, 4, || bare.step())
    });
    bench.row("mlp 64-256-256-1, MALA: step / bare", Some(1.05), |turns| {
        let (mut model, data, s) = mlp();
        let mut bare = BareNet::new(data.copy(), s.walkers, 2, mlp_net);
        against(Reversed::new(Mala::new(H)), &mut model, &data, s, turns, 4, || bare.step())
    });
    bench.row("cnn 28×28, ULA: step / bare", Some(1.05), |turns| {
        let (mut model, data, s) = cnn();
        let mut bare = BareNet::new(data.copy(), s.walkers, 1, cnn_net);
        against(Ula::new(H), &mut model, &data, s, turns, 2, || bare.step())
    });
    bench.row("cnn 28×28, MALA: step / bare", Some(1.05), |turns| {
        let (mut model, data, s) = cnn();
        let mut bare = BareNet::new(data.copy(), s.walkers, 2, cnn_net);
        against(Reversed::new(Mala::new(H)), &mut model, &data, s, turns, 2, || bare.step())
    });
}

/// 4: a row at every step over hardly any rows.
fn recording(bench: &Bench) {
    let often = |s: &Settings| Settings { every: 1, ..s.clone() };
    let rarely = |s: &Settings| Settings { every: s.steps, ..s.clone() };
    bench.row("mixture, Double: every 1 / first and last", None, |turns| {
        versus(16, || mixture(Kind::Double), often, rarely, turns)
    });
    bench.row("mlp: every 1 / first and last", Some(1.01), |turns| versus(16, mlp, often, rarely, turns));
    bench.row("cnn: every 1 / first and last", Some(1.01), |turns| versus(8, cnn, often, rarely, turns));
}

/// 5: what the monitor and the ESS limit, both on by default, add.
fn extras(bench: &Bench) {
    let plain = |s: &Settings| s.clone();
    let monitor = |s: &Settings| Settings { monitor: None, ..s.clone() };
    let limit = |s: &Settings| Settings { trust_region: None, ..s.clone() };
    let both = |s: &Settings| Settings { monitor: None, trust_region: None, ..s.clone() };
    for (what, with) in
        [("monitor", &monitor as &dyn Fn(&Settings) -> Settings), ("ESS limit", &limit), ("both", &both)]
    {
        bench.row(&format!("mixture, Double: {what} / without"), None, |turns| {
            versus(16, || mixture(Kind::Double), with, plain, turns)
        });
        bench.row(&format!("mlp: {what} / without"), None, |turns| versus(16, mlp, with, plain, turns));
        bench.row(&format!("cnn: {what} / without"), None, |turns| versus(8, cnn, with, plain, turns));
    }
}

/// 6: the library's normals over libtorch's.
fn normals(bench: &Bench) {
    for kind in [Kind::Float, Kind::Double] {
        bench.row(&format!("10⁴×50 normals, {kind:?}: library / randn"), None, |turns| {
            let mut rng = Rng::new(1);
            let time = |f: &mut dyn FnMut() -> Tensor| clock(20, || (0..20).for_each(|_| drop(f())));
            (0..turns)
                .map(|_| {
                    let own = time(&mut || rng.normal(&[10_000, 50], kind, Device::Cpu));
                    (own, time(&mut || Tensor::randn([10_000, 50], (kind, Device::Cpu))))
                })
                .collect()
        });
    }
}

// ---- settings: monitor off and updates free, so that like is compared with like

const H: f64 = 1e-3;

fn settings(walkers: usize, optim: Optim, lr: f64) -> Settings {
    let update = Some(TrustRegion::Unlimited);
    Settings { walkers, monitor: Some(0), trust_region: update, optim, lr, progress: 0.0, ..Default::default() }
}

/// Two modes in 50 dimensions, 10⁴ walkers, 10⁴ data points.
fn mixture(kind: Kind) -> (Mixture, Tensor, Settings) {
    let modes = |at: f64| {
        let mean = |v: f64| (0..50).map(|i| if i == 0 { v } else { 0.0 }).collect::<Vec<_>>();
        Mixture::with_sigma(&[mean(-at), mean(at)], &[0.5, 0.5], &[1.0, 1.0], kind, Device::Cpu).unwrap()
    };
    let data = modes(2.2).sample(10_000, &mut Rng::new(1));
    (modes(2.0), data, settings(10_000, Optim::Sgd { momentum: 0.0 }, 0.005))
}

fn mlp() -> (Mlp, Tensor, Settings) {
    let data = Rng::new(1).normal(&[1_024, 64], Kind::Float, Device::Cpu) * 0.9;
    let model =
        Mlp::new(64, &MlpShape { widths: vec![256, 256], ..Default::default() }, Kind::Float, Device::Cpu).unwrap();
    (model, data, settings(1_024, Optim::Adam, 1e-5))
}

fn cnn() -> (Cnn, Tensor, Settings) {
    let data = Rng::new(1).normal(&[256, 784], Kind::Float, Device::Cpu) * 0.9;
    let model = Cnn::new(28, &CnnShape::default(), Kind::Float, Device::Cpu).unwrap();
    (model, data, settings(256, Optim::Adam, 1e-5))
}

// ---- the bounds

/// One Jarzynski iteration of the two-mode mixture of unit variance, as one writes it with tensors.
struct BareMixture {
    x: Tensor,
    u: Tensor,
    grad: Tensor,
    g: Tensor,
    a: Tensor,
    means: Tensor,
    z: Tensor,
    data: Tensor,
    h: f64,
    lr: f64,
}

impl BareMixture {
    fn new(model: &Mixture, data: &Tensor, s: &Settings) -> Self {
        let (kind, device) = model.options();
        let x = model.sample(s.walkers, &mut Rng::new(2));
        let (means, z) = (model.means(), Tensor::zeros([2], (kind, device)));
        let (u, grad, g) = evaluate(&x, &means, &z);
        let a = Tensor::zeros([s.walkers as i64], (kind, device));
        BareMixture { x, u, grad, g, a, means, z, data: data.copy(), h: 0.1, lr: s.lr }
    }

    fn step(&mut self) {
        let (x, h) = (&self.x, self.h);
        let w = self.a.softmax(0, None::<Kind>);
        // U needs the data's energies for the cross-entropy, their responsibilities for the gradient.
        let (u_data, g_data) = energy(&self.data, &self.means, &self.z);
        let mut checks = u_data.mean(None::<Kind>).double_value(&[]);
        let on_data = g_data / self.data.size()[0] as f64;
        let on_walkers = &self.g * w.unsqueeze(-1);
        let mass = on_data.sum_dim_intlist(0, false, None::<Kind>) - on_walkers.sum_dim_intlist(0, false, None::<Kind>);
        let pull = on_data.tr().matmul(&self.data) - on_walkers.tr().matmul(x) - &self.means * mass.unsqueeze(-1);
        // eqs (15)-(16)
        let step = x.randn_like() * (2.0 * h).sqrt() - &self.grad * h;
        let y = x + &step;
        let alpha = &self.u + row_dot(&step, &self.grad) * 0.5 + row_dot(&self.grad, &self.grad) * (0.25 * h);
        let _ = self.means.g_add_(&(pull * self.lr));
        let _ = self.z.g_sub_(&(mass * self.lr));
        let (u, grad, g) = evaluate(&y, &self.means, &self.z);
        let lambda = &u + row_dot(&(x - &y), &grad) * 0.5 + row_dot(&grad, &grad) * (0.25 * h);
        self.a = &self.a + alpha - lambda;
        checks += self.a.sum(None::<Kind>).double_value(&[]);
        assert!(checks.is_finite());
        (self.x, self.u, self.grad, self.g) = (y, u, grad, g);
        let w = self.a.softmax(0, None::<Kind>);
        let ess = 1.0 / w.square().sum(None::<Kind>).double_value(&[]) / w.size()[0] as f64;
        if ess < 0.5 {
            let ancestors = w.multinomial(w.size()[0], true);
            for t in [&mut self.x, &mut self.u, &mut self.grad, &mut self.g] {
                *t = t.index_select(0, &ancestors);
            }
            self.a = self.a.zeros_like();
        }
    }
}

/// U and the posterior mode probabilities; |x − μ|² through one matrix product.
fn energy(x: &Tensor, means: &Tensor, z: &Tensor) -> (Tensor, Tensor) {
    let square = |t: &Tensor| t.square().sum_dim_intlist(-1, false, None::<Kind>);
    let e = (x.matmul(&means.tr()) - square(x).unsqueeze(-1) * 0.5) - (square(means) * 0.5 + z);
    (-e.logsumexp(-1, false), e.softmax(-1, None::<Kind>))
}

fn evaluate(x: &Tensor, means: &Tensor, z: &Tensor) -> (Tensor, Tensor, Tensor) {
    let (u, g) = energy(x, means, z);
    (u, x - g.matmul(means), g)
}

fn row_dot(a: &Tensor, b: &Tensor) -> Tensor {
    (a * b).sum_dim_intlist(-1, false, None::<Kind>)
}

type Net = Box<dyn Fn(&Tensor) -> Tensor>;

/// The passes of one Jarzynski iteration with a net, and nothing else: no weights, no acceptance, no statistics.
struct BareNet {
    net: Net,
    optimiser: nn::Optimizer,
    /// Evaluations of the walkers per step: 1 for ULA, 2 for a reversed MALA.
    evaluations: usize,
    x: Tensor,
    u: Tensor,
    grad: Tensor,
    data: Tensor,
}

impl BareNet {
    fn new(data: Tensor, n: usize, evaluations: usize, net: fn(&nn::Path) -> Net) -> Self {
        let vs = nn::VarStore::new(Device::Cpu);
        let net = net(&vs.root());
        let optimiser = nn::Adam::default().build(&vs, 1e-5).unwrap();
        let x = Tensor::randn([n as i64, data.size()[1]], (Kind::Float, Device::Cpu));
        let (u, grad) = forward_and_back(&net, &x);
        BareNet { net, optimiser, evaluations, x, u, grad, data }
    }

    fn step(&mut self) {
        let noise = self.x.randn_like();
        let y = &self.x - &self.grad * H + noise * (2.0 * H).sqrt();
        if self.evaluations == 2 {
            drop(forward_and_back(&self.net, &y));
        }
        self.optimiser.zero_grad();
        ((self.net)(&self.data).mean(None::<Kind>) - self.u.mean(None::<Kind>)).backward();
        self.optimiser.step();
        (self.u, self.grad) = forward_and_back(&self.net, &y);
        self.x = y;
    }
}

/// U with its graph, and ∇U.
fn forward_and_back(net: &Net, x: &Tensor) -> (Tensor, Tensor) {
    let x = x.detach().set_requires_grad(true);
    let u = net(&x);
    let grad = Tensor::run_backward(&[u.sum(None::<Kind>)], &[&x], true, false).swap_remove(0);
    (u, grad)
}

fn with_well(net: impl Fn(&Tensor) -> Tensor + 'static) -> Net {
    Box::new(move |x| x.square().sum_dim_intlist(-1, false, None::<Kind>) * 0.5 + net(x).squeeze_dim(-1))
}

fn mlp_net(p: &nn::Path) -> Net {
    let l = [(64, 256), (256, 256), (256, 1)].map(|(i, o)| nn::linear(p, i, o, Default::default()));
    with_well(move |x| l[2].forward(&l[1].forward(&l[0].forward(x).silu()).silu()))
}

fn cnn_net(p: &nn::Path) -> Net {
    let conv = |(i, o, k)| nn::conv2d(p, i, o, k, nn::ConvConfig { stride: 2, padding: k / 2, ..Default::default() });
    let c = [(1, 16, 5), (16, 32, 3), (32, 64, 3), (64, 64, 3)].map(conv);
    let (head, last) = (nn::linear(p, 64 * 4, 64, Default::default()), nn::linear(p, 64, 1, Default::default()));
    with_well(move |x| {
        let features = c.iter().fold(x.view([-1, 1, 28, 28]), |h, c| c.forward(&h).silu());
        last.forward(&head.forward(&features.flatten(1, -1)).silu())
    })
}

// ---- timing

/// A training step and a `bare` step, in turns of `every` steps: the run's observer, called at each row, takes the bare
/// side's turn.
fn against<M: Model, K: Kernel<M>>(
    kernel: K,
    model: &mut M,
    data: &Tensor,
    s: Settings,
    turns: usize,
    every: usize,
    mut bare: impl FnMut(),
) -> Vec<(Spent, Spent)> {
    let (mut pairs, mut own) = (Vec::new(), Clock::start());
    let s = Settings { every, steps: every * (turns + 1), ..s };
    let run = Trainer::new(kernel, JARZYNSKI).settings(s).train_with(model, data, &mut |_| {
        let own_turn = own.stop(every);
        pairs.push((own_turn, clock(every, || (0..every).for_each(|_| bare()))));
        own = Clock::start();
        Vec::new()
    });
    assert!(run.unwrap().finished());
    // The first two turns hold the start and the first use of everything.
    pairs.split_off(2)
}

/// The same training under two settings, in turns of whole runs.
fn versus<M: Model>(
    steps: usize,
    start: impl Fn() -> (M, Tensor, Settings),
    a: impl Fn(&Settings) -> Settings,
    b: impl Fn(&Settings) -> Settings,
    turns: usize,
) -> Vec<(Spent, Spent)>
where
    Ula: Kernel<M>,
{
    let run = |change: &dyn Fn(&Settings) -> Settings| {
        let (mut model, data, s) = start();
        let trainer = Trainer::new(Ula::new(H), JARZYNSKI).settings(change(&Settings { steps, ..s }));
        clock(steps, || assert!(trainer.train(&mut model, &data).unwrap().finished()))
    };
    (0..turns).map(|_| (run(&a), run(&b))).collect()
}

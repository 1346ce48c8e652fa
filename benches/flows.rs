//! Measure every scheme for flows against its bare evaluations, and flow matching against the same losses in bare tch.
//!
//! The two sides take turns in one process. `make bench`, or `make bench ARGS='-- --quick net'` for the rows named so.

mod timing;

use jarzynski::kernel::{EvalCounts, FlowKernel};
use jarzynski::model::{Bridge, FlowNet, FlowShape, Interpolant};
use jarzynski::tch::nn::{self, Module, OptimizerConfig};
use jarzynski::tch::{self, Device, Kind, Tensor};
use jarzynski::{At, Flow, FlowSettings, FlowTrainer, Kernel, Rng};
use timing::{Bench, Spent, clock};

fn main() {
    let bench = Bench::from_args();
    training(&bench);
    let (net, closed) = (net(), closed());
    for name in FlowKernel::NAMES {
        bench.row(&format!("net, d = 2: {name} / evaluations"), Some(1.1), |turns| scheme(name, &net, turns));
    }
    for name in FlowKernel::NAMES {
        bench.row(&format!("closed form, d = 5: {name} / evaluations"), None, |turns| scheme(name, &closed, turns));
    }
}

const N: usize = 4_000;

/// Two networks of 3×128, moved from their start.
fn net() -> FlowNet {
    let data = Rng::new(1).normal(&[2_000, 2], Kind::Float, Device::Cpu) * 2.0;
    let flow = FlowNet::from_noise(&Bridge::default(), &data, &FlowShape::default()).unwrap();
    let mut rng = Rng::new(2);
    tch::no_grad(|| {
        for mut p in flow.vars().trainable_variables() {
            let noise = rng.normal(&p.size(), p.kind(), p.device()) * 0.05;
            let _ = p.g_add_(&noise);
        }
    });
    flow
}

fn closed() -> Interpolant {
    Interpolant::new(&[vec![-1.5, 0.5, 0.5, 0.5, 0.5], vec![1.5, -0.5, -0.5, -0.5, -0.5]], &[0.4, 0.6], &[0.6, 0.8])
        .unwrap()
}

/// One step from t = .4, and nothing but the evaluations of U, ∇U, b and J_b that the scheme declares.
fn scheme<P: Flow>(name: &str, path: &P, turns: usize) -> Vec<(Spent, Spent)> {
    let kernel = FlowKernel::named(name, 0.5).unwrap();
    let mut rng = Rng::new(3);
    let x = path.base().sample(N, &mut rng);
    let at = path.arrive(0.4, &x);
    let (now, next) = At::step(path, 0.4, 0.45);
    let mut step = || -> EvalCounts {
        let mv = kernel.forward(&now, &at, &mut rng);
        let mut cost = mv.cost;
        cost += kernel.backward(&next, &at, mv, &mut rng).cost;
        cost
    };
    step();
    let declared = step();
    let mut pairs: Vec<(Spent, Spent)> = Vec::new();
    let [energies, drifts, jacobians] = [declared.forward, declared.drift, declared.jacobian].map(|c| c as usize / N);
    let bare = || {
        // U, ∇U and b share work where a path lets them
        for i in 0..energies {
            drop(if i < drifts { path.arrive(0.45, &x) } else { path.evaluate(0.45, &x) });
        }
        for _ in 0..jacobians {
            drop(path.linearise(0.4, &x));
        }
    };
    for _ in 0..turns {
        let own = clock(2, || {
            (0..2).for_each(|_| {
                step();
            })
        });
        pairs.push((own, clock(2, || (0..2).for_each(|_| bare()))));
    }
    pairs
}

/// An update of flow matching over the same in bare tch.
fn training(bench: &Bench) {
    for batch in [512, 2_048] {
        bench.row(&format!("flow matching, batch {batch}: library / bare"), Some(1.03), |turns| {
            let data = Rng::new(1).normal(&[20_000, 2], Kind::Float, Device::Cpu) * 2.0;
            let mut bare = Bare::new(&data, batch);
            let steps = 30;
            (0..turns.div_ceil(2))
                .map(|_| {
                    let mut flow = FlowNet::from_noise(&Bridge::default(), &data, &FlowShape::default()).unwrap();
                    // one walker, rows rarely: what is timed is the update
                    let s =
                        FlowSettings { steps, batch, walkers: 1, every: steps, progress: 0.0, ..Default::default() };
                    let trainer = FlowTrainer::new().settings(s);
                    let own = clock(steps + 1, || assert!(trainer.train(&mut flow, &data).unwrap().finished()));
                    tch::set_num_threads(1);
                    (own, clock(steps + 1, || (0..=steps).for_each(|_| bare.step())))
                })
                .collect()
        });
    }
}

/// The three losses as one writes them with tensors: the same networks, Gaussian part and optimiser.
struct Bare {
    data: Tensor,
    batch: i64,
    mean: Tensor,
    variance: Tensor,
    velocity: Vec<nn::Linear>,
    energy: Vec<nn::Linear>,
    optimiser: nn::Optimizer,
}

impl Bare {
    fn new(data: &Tensor, batch: usize) -> Self {
        let vs = nn::VarStore::new(Device::Cpu);
        let net = |name: &str, out| -> Vec<nn::Linear> {
            let sizes = [(2, 128), (7, 128), (128, 128), (128, 128), (128, out)];
            sizes
                .iter()
                .enumerate()
                .map(|(i, (a, b))| nn::linear(&vs.root() / name / i, *a, *b, Default::default()))
                .collect()
        };
        let (velocity, energy) = (net("velocity", 2), net("energy", 1));
        let optimiser = nn::Adam::default().build(&vs, 2e-3).unwrap();
        let mean = data.mean_dim(0, false, None::<Kind>);
        let variance = (data - &mean).square().mean_dim(0, false, None::<Kind>);
        Bare { data: data.copy(), batch: batch as i64, mean, variance, velocity, energy, optimiser }
    }

    fn net(layers: &[nn::Linear], x: &Tensor, t: &Tensor) -> Tensor {
        let mut features = vec![t.shallow_clone()];
        for k in 1..=3 {
            let angle = t * (k as f64 * std::f64::consts::PI);
            features.extend([angle.cos(), angle.sin()]);
        }
        let h = layers[0].forward(&(x * 0.5)) + layers[1].forward(&Tensor::cat(&features, -1));
        layers[4].forward(&layers[3].forward(&layers[2].forward(&h.silu()).silu()).silu())
    }

    fn step(&mut self) {
        let n = self.batch;
        let rows = Tensor::randint(self.data.size()[0], [n], (Kind::Int64, Device::Cpu));
        let x1 = self.data.index_select(0, &rows);
        let (t, z) = (Tensor::rand([n, 1], (Kind::Float, Device::Cpu)), Tensor::randn_like(&x1));
        // N² = (1 − t)² + σ²t², NṄ = −(1 − t) + σ²t
        let width = ((&t - 1.0).square() + t.square() * 0.01).sqrt();
        let grows = ((&t - 1.0) + &t * 0.01) / &width;
        let x = &x1 * &t + &z * &width;
        let velocity = &x1 + &z * &grows;
        let v = &self.variance * t.square() + width.square();
        let vv = (&self.variance * &t + &width * &grows) * 2.0;
        let away = &x - &self.mean * &t;
        let sum = |t: Tensor| t.sum_dim_intlist(-1, false, None::<Kind>);
        let b = &away * &vv / (&v * 2.0) + &self.mean + Self::net(&self.velocity, &x, &t);
        let on_velocity = sum(&b * (&b * 0.5 - &velocity)).mean(None::<Kind>);
        let (leaf, time) = (x.detach().set_requires_grad(true), t.detach().set_requires_grad(true));
        let well = (&leaf - &self.mean * &t).square() / (&v * 2.0) + v.log() * 0.5;
        let u = sum(well) + Self::net(&self.energy, &leaf, &time).squeeze_dim(-1);
        let slopes = Tensor::run_backward(&[u.sum(None::<Kind>)], &[&leaf, &time], true, true);
        let scaled = &slopes[0] * -&width;
        let on_score = sum(&scaled * (&scaled * 0.5 + &z)).mean(None::<Kind>);
        let relative = &vv / (&v * 2.0);
        let own = sum(&relative - &away * &self.mean / &v - away.square() * &relative / &v);
        let target = (sum(&z * &x1) + (sum(z.square()) - 2.0) * grows.squeeze_dim(-1)) / width.squeeze_dim(-1);
        let on_time = ((slopes[1].squeeze_dim(-1) + own + target) * width.squeeze_dim(-1)).square().mean(None::<Kind>);
        self.optimiser.backward_step(&(on_velocity + on_score + on_time * 0.05));
    }
}

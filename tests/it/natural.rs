//! Check natural gradients as a user trains with them: what they reach, that weights stay exact, and what is refused.

use crate::common::{FAR, z_of};
use jarzynski::kernel::{Gibbs, Mala, Reversed};
use jarzynski::model::{Bridge, FlowNet, FlowShape, Mixture, Mlp, MlpShape, Rbm, RbmShape};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::train::ScoreMatching;
use jarzynski::{FlowSettings, FlowTrainer, Method, Model, Optim, Rng, Settings, Trainer, TrustRegion, Ula};

const JARZYNSKI: Method = Method::Jarzynski { ess_min: 0.5 };

/// Bars and stripes of 3 × 3 pixels: all 14 patterns.
fn bars_and_stripes() -> Tensor {
    let side = 3i64;
    let lines = |k: i64| Tensor::from_slice(&(0..side).map(|i| (k >> i & 1) as f64).collect::<Vec<_>>());
    let bars = (0..1 << side).map(|k| lines(k).unsqueeze(0).expand([side, side], false).reshape([-1]));
    let stripes = (1..(1 << side) - 1).map(|k| lines(k).unsqueeze(1).expand([side, side], false).reshape([-1]));
    Tensor::stack(&bars.chain(stripes).collect::<Vec<_>>(), 0)
}

fn natural(steps: usize) -> Settings {
    Settings {
        walkers: 500,
        steps,
        lr: 1.0,
        optim: Optim::natural(),
        trust_region: Some(TrustRegion::Shrink { ess: 0.9 }),
        seed: 3,
        progress: 0.0,
        ..Default::default()
    }
}

#[test]
fn they_gain_more_per_update_than_gradients_under_the_same_limit() {
    let data = bars_and_stripes();
    let reached = |method: Method, optim: Optim| {
        let shape = RbmShape { hidden: 12, scale: 0.1, centred: true, ..Default::default() };
        let mut rbm = Rbm::bernoulli(&data, &shape).unwrap();
        let lr = if let Optim::Sgd { .. } = optim { 5.0 } else { 1.0 };
        let run = Trainer::new(Gibbs::new(), method).settings(Settings { optim, lr, ..natural(40) });
        let run = run.train(&mut rbm, &data).unwrap();
        assert!(run.finished(), "{:?}", run.outcome);
        let least = run.column("ess_step").unwrap().into_iter().skip(1).fold(1.0, f64::min);
        assert!(least >= 0.9, "the limit is kept by every update: {least}");
        if let Some(z) = run.log_z() {
            let off = z_of(&z, rbm.exact_log_z().unwrap());
            assert!(off.abs() < FAR, "{optim:?}: monitor {z}, {off} bars off");
        }
        rbm.exact_log_likelihood(&data).unwrap()
    };
    for method in [JARZYNSKI, Method::Pcd] {
        let (plain, metric) = (reached(method, Optim::Sgd { momentum: 0.0 }), reached(method, Optim::natural()));
        assert!(metric > plain + 0.1, "{method:?}: {metric} by natural gradients, {plain} by gradients");
    }
}

#[test]
fn nets_train_with_them_and_weights_stay_exact() {
    let data = Mixture::new(&[vec![-1.5], vec![1.5]], &[0.3, 0.7]).unwrap().sample(400, &mut Rng::new(1));
    let shape = MlpShape { widths: vec![16, 16], sigma: 2.0, ..Default::default() };
    let mut net = Mlp::new(1, &shape, Kind::Double, Device::Cpu).unwrap();
    let kernel = Reversed::sweeps(Mala::new(0.2), 2);
    let run = Trainer::new(kernel, JARZYNSKI).settings(natural(60)).train(&mut net, &data).unwrap();
    // log Z by quadrature
    let x = Tensor::linspace(-14.0, 14.0, 20_001, (Kind::Double, Device::Cpu)).unsqueeze(-1);
    let u = jarzynski::Energy::evaluate(&net, &x).u;
    let exact = (-u).logsumexp(0, false).double_value(&[]) + (28.0f64 / 20_000.0).ln();
    let z = run.log_z().unwrap();
    assert!(z_of(&z, exact).abs() < FAR, "{z} where {exact} is exact");
    let h = run.column("cross_entropy_monitor").unwrap();
    assert!(h[60] < h[0] - 0.1, "from {} to {}", h[0], h[60]);
}

#[test]
fn what_has_no_fisher_matrix_or_no_walkers_is_refused_by_name() {
    let data = bars_and_stripes();
    let mut mixture = Mixture::new(&[vec![0.0; 9]], &[1.0]).unwrap();
    let ula = Trainer::new(Ula::new(0.1), JARZYNSKI);
    let e = ula.clone().settings(natural(5)).train(&mut mixture, &data).unwrap_err().to_string();
    assert!(e.starts_with("optim = natural") && e.contains("Model::fisher"), "{e}");
    for (optim, name) in [
        (Optim::Natural { damping: 0.0, decay: 0.9, every: 1, momentum: 0.0 }, "optim.damping = 0"),
        (Optim::Natural { damping: 0.1, decay: 1.0, every: 1, momentum: 0.0 }, "optim.decay = 1"),
        (Optim::Natural { damping: 0.1, decay: 0.9, every: 0, momentum: 0.0 }, "optim.every = 0"),
        (Optim::Natural { damping: 0.1, decay: 0.9, every: 1, momentum: 1.0 }, "optim.momentum = 1"),
    ] {
        let e = ula.clone().settings(Settings { optim, ..natural(5) }).train(&mut mixture, &data).unwrap_err();
        assert!(e.to_string().starts_with(name), "{e}");
    }
    let clip = Settings { clip: Some(1.0), ..natural(5) };
    let e = ula.settings(clip).train(&mut mixture, &data).unwrap_err().to_string();
    assert!(e.starts_with("clip = 1"), "{e}");
    let mut flow = FlowNet::from_noise(&Bridge::default(), &data, &FlowShape::default()).unwrap();
    let s = FlowSettings { optim: Optim::natural(), progress: 0.0, ..Default::default() };
    let e = FlowTrainer::new().settings(s).train(&mut flow, &data).unwrap_err().to_string();
    assert!(e.starts_with("optim = natural"), "{e}");
    let mut net = Mlp::new(9, &MlpShape::default(), Kind::Double, Device::Cpu).unwrap();
    let e = ScoreMatching::denoising(0.1).optim(Optim::natural()).train(&mut net, &data).unwrap_err().to_string();
    assert!(e.starts_with("optim = natural"), "{e}");
}

#[test]
fn a_model_that_forgets_a_parameter_is_refused_with_its_name() {
    /// An RBM whose Fisher matrix lacks the hidden biases.
    #[derive(Debug)]
    struct Forgetful(Rbm);
    impl jarzynski::Energy for Forgetful {
        fn energy(&self, x: &Tensor) -> Tensor {
            self.0.energy(x)
        }
        fn evaluate(&self, x: &Tensor) -> jarzynski::Evaluation {
            self.0.evaluate(x)
        }
    }
    impl jarzynski::density::Bipartite for Forgetful {
        type Layers = jarzynski::model::Units;
        fn layers(&self) -> Self::Layers {
            self.0.units()
        }
    }
    impl Model for Forgetful {
        fn vars(&self) -> &jarzynski::tch::nn::VarStore {
            self.0.vars()
        }
        fn vars_mut(&mut self) -> &mut jarzynski::tch::nn::VarStore {
            self.0.vars_mut()
        }
        fn base(&self) -> jarzynski::Result<Box<dyn jarzynski::Base>> {
            self.0.base()
        }
        fn dim(&self) -> i64 {
            self.0.dim()
        }
        fn param_grad(&self, at: &mut jarzynski::Evaluation, w: &Tensor) -> Vec<Tensor> {
            self.0.param_grad(at, w)
        }
        fn fisher(&self, at: &jarzynski::Evaluation) -> Option<jarzynski::density::Fisher> {
            let (units, v) = (self.0.units(), &at.x);
            let p = self.0.hidden_means(v).ok()?;
            Some(jarzynski::density::Fisher::new().linear(&units.w, None, &p, v).parameter(&units.b, &-v))
        }
    }
    let data = bars_and_stripes();
    let mut model = Forgetful(Rbm::bernoulli(&data, &RbmShape { hidden: 4, ..Default::default() }).unwrap());
    let e = Trainer::new(Gibbs::new(), JARZYNSKI).settings(natural(5)).train(&mut model, &data).unwrap_err();
    assert!(e.to_string().contains("for the parameter c: there are 0"), "{e}");
}

//! Check the normalizing flow: inverse, log-determinant, density, training; and the weights of its stochastic version.

use crate::common::{FAR, z_of};
use jarzynski::density::{Maps, log_prob};
use jarzynski::kernel::Mapped;
use jarzynski::model::{CouplingFlow, CouplingShape, FlowBridge, Gaussian, Mixture};
use jarzynski::tch::{Device, Kind, Tensor, no_grad};
use jarzynski::train::MaximumLikelihood;
use jarzynski::{
    Base, Checkpointing, Differentiable, Energy, Mala, Model, Path, ReverseStart, Reversed, Rng, Run, Schedule,
    Transport, Ula,
};

fn shape(couplings: usize) -> CouplingShape {
    CouplingShape { couplings, widths: vec![16, 16], ..Default::default() }
}

fn flow_of(d: usize, couplings: usize) -> CouplingFlow {
    let start = Gaussian::new(&vec![0.3; d], &vec![1.5; d]).unwrap();
    CouplingFlow::new(&start, &shape(couplings), Kind::Double, Device::Cpu).unwrap()
}

/// With parameters that no training made: every layer does something.
fn shaken(d: usize, couplings: usize, by: f64) -> CouplingFlow {
    shake(flow_of(d, couplings), by)
}

fn shake(flow: CouplingFlow, by: f64) -> CouplingFlow {
    let mut rng = Rng::new(5);
    let mut named: Vec<(String, Tensor)> = flow.vars().variables().into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    for (_, p) in &mut named {
        let noise = rng.normal(&p.size(), Kind::Double, Device::Cpu);
        no_grad(|| *p += noise * by);
    }
    flow
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

#[test]
fn the_inverse_undoes_the_flow_and_its_log_determinant() {
    for (d, couplings) in [(2, 5), (3, 4), (7, 6)] {
        let flow = shaken(d, couplings, 0.15);
        let z = Rng::new(1).normal(&[200, d as i64], Kind::Double, Device::Cpu);
        let (x, there) = flow.generate(&z);
        let (back, again) = flow.normalise(&x);
        assert!(gap(&back, &z) < 1e-10 && gap(&there, &-again) < 1e-10, "d = {d}: {}", gap(&back, &z));
        assert!(gap(&x, &(&z * 1.5 + 0.3)) > 0.1, "the flow does something");
        // part of the way and back, in the data's coordinates
        let (y, there) = flow.carry(1, couplings, &x);
        let (back, again) = flow.carry(couplings, 1, &y);
        assert!(gap(&back, &x) < 1e-10 && gap(&there, &-again) < 1e-10, "d = {d}");
        // the twin: from another layer it is not the inverse
        assert!(gap(&flow.carry(couplings, 2, &y).0, &x) > 1e-3, "d = {d}");
    }
}

/// log |det ∂x/∂z| of each row by automatic differentiation.
fn by_autograd(flow: &CouplingFlow, z: &Tensor) -> Tensor {
    let leaf = z.copy().set_requires_grad(true);
    let x = flow.generate(&leaf).0;
    let rows: Vec<Tensor> = (0..z.size()[1])
        .map(|i| Tensor::run_backward(&[x.select(1, i).sum(Kind::Double)], &[&leaf], true, false).remove(0))
        .collect();
    Tensor::stack(&rows, 1).slogdet().1
}

#[test]
fn the_log_determinant_is_that_of_the_jacobian() {
    for (d, couplings) in [(2, 3), (3, 4), (5, 6)] {
        let flow = shaken(d, couplings, 0.15);
        let z = Rng::new(2).normal(&[50, d as i64], Kind::Double, Device::Cpu);
        let (found, exact) = (flow.generate(&z).1, by_autograd(&flow, &z));
        assert!(gap(&found, &exact) < 1e-10, "d = {d}: {}", gap(&found, &exact));
        // the twin: a layer short
        let short =
            flow.carry(1, couplings, &flow.carry(0, 1, &flow.start().unwrap().sample(50, &mut Rng::new(3))).0).1;
        assert!(gap(&short, &exact) > 1e-3, "d = {d}");
    }
}

/// A grid over ±24 in the plane, `[n², 2]`, and the area of a cell.
fn grid(n: i64) -> (Tensor, f64) {
    let axis = Tensor::linspace(-24.0, 24.0, n, (Kind::Double, Device::Cpu));
    let (x, y) = (axis.repeat_interleave_self_int(n, 0, None), axis.repeat([n]));
    (Tensor::stack(&[x, y], 1), (48.0 / (n - 1) as f64).powi(2))
}

#[test]
fn the_density_is_normalised_and_draws_have_it() {
    // stretched by little, so that the grid holds all of the mass
    let start = Gaussian::new(&[0.3, -0.2], &[1.5, 1.5]).unwrap();
    let tight = CouplingShape { bound: 0.25, ..shape(4) };
    let flow = shake(CouplingFlow::new(&start, &tight, Kind::Double, Device::Cpu).unwrap(), 0.1);
    let (x, cell) = grid(801);
    let density = log_prob(&flow, &x, 0.0).unwrap().exp();
    let total = density.sum(Kind::Double).double_value(&[]) * cell;
    assert!((total - 1.0).abs() < 1e-6, "{total}");
    // the twin: without the determinant of the couplings
    let (z, _) = flow.normalise(&x);
    let flat = (z.square().sum_dim_intlist(-1, false, Kind::Double) * -0.5).exp() / (2.0 * std::f64::consts::PI * 2.25);
    let wrong = flat.sum(Kind::Double).double_value(&[]) * cell;
    assert!((wrong - 1.0).abs() > 1e-3, "{wrong}");
    let draws = flow.sample(40_000, &mut Rng::new(3));
    let start = flow.start().unwrap().sample(40_000, &mut Rng::new(3));
    let features: [fn(&Tensor) -> Tensor; 3] = [
        |x| x.select(1, 0).shallow_clone(),
        |x| x.select(1, 0) * x.select(1, 1),
        |x| x.select(1, 1).gt(1.0).to_kind(Kind::Double),
    ];
    let mut twin = 0.0f64;
    for feature in features {
        let exact = (feature(&x) * &density).sum(Kind::Double).double_value(&[]) * cell;
        let z = z_of(&feature(&draws), exact);
        assert!(z.abs() < FAR, "{z} from {exact}");
        twin = twin.max(z_of(&feature(&start), exact).abs());
    }
    assert!(twin > FAR, "draws of the start alone have other means: {twin}");
}

fn modes() -> Mixture {
    let means = [vec![-2.0, 0.0], vec![2.0, 1.0], vec![0.5, -2.0]];
    Mixture::with_sigma(&means, &[0.2, 0.5, 0.3], &[0.6, 0.8, 0.5], Kind::Double, Device::Cpu).unwrap()
}

fn learning() -> MaximumLikelihood {
    MaximumLikelihood::new().steps(300).batch(250).lr(5e-3).schedule(Schedule::Cosine { end: 0.0 }).every(50).quiet()
}

fn trained() -> CouplingFlow {
    let data = modes().sample(2_000, &mut Rng::new(1));
    let start = Gaussian::fit(&data, 0.0).unwrap();
    let mut flow = CouplingFlow::new(&start, &shape(4), Kind::Double, Device::Cpu).unwrap();
    assert!(learning().train(&mut flow, &data).unwrap().finished());
    flow
}

#[test]
fn maximum_likelihood_comes_near_the_data_s_own_density_and_not_below() {
    let fresh = modes().sample(4_000, &mut Rng::new(2));
    let of = |model: &dyn Fn(&Tensor) -> Tensor| no_grad(|| model(&fresh)).to_kind(Kind::Double);
    let flow = trained();
    let (learned, start) =
        (of(&|x| flow.energy(x)), of(&|x| flow.start().unwrap().energy(x)) + flow.start().unwrap().log_z());
    let exact = of(&|x| modes().energy(x)) + Base::log_z(&modes());
    assert!(z_of(&(&start - &learned), 0.0) > FAR, "learned something");
    assert!(z_of(&(&learned - &exact), 0.0) > -FAR, "no density is nearer than the data's own");
    let divergence = (&learned - &exact).mean(Kind::Double).double_value(&[]);
    let before = (&start - &exact).mean(Kind::Double).double_value(&[]);
    assert!(divergence < 0.3 * before, "{divergence} of {before} nats are left");
}

#[test]
fn weights_of_a_flow_that_is_the_target_are_constant() {
    let flow = shaken(2, 3, 0.3);
    let path = FlowBridge::new(&flow, &flow).unwrap();
    let run = Transport::new(Mapped::new(Reversed::new(Mala::new(0.2))), 6, 200, 0).quiet().run(&path).unwrap();
    assert!(run.finished() && run.walkers.log_z().value.abs() < 1e-10, "{:?}", run.walkers.log_z());
    let spread = run.walkers.log_weights().max() - run.walkers.log_weights().min();
    assert!(spread.double_value(&[]) < 1e-10);
}

/// z-scores of log Z and of two averages under weights, for the mixture as target.
fn scores(run: &Run) -> [f64; 3] {
    let (exact, w) = (modes(), &run.walkers);
    let mean = w.mean(&w.x().select(1, 0)).unwrap();
    let share = w.mean(&exact.responsibilities(w.x()).unwrap().select(1, 1)).unwrap();
    [z_of(&w.log_z(), Base::log_z(&exact)), z_of(&mean, -0.4 + 1.0 + 0.15), z_of(&share, 0.5)]
}

/// A path whose maps report too small a log-determinant.
struct Short<'a>(FlowBridge<'a, Mixture>);

impl Differentiable for Short<'_> {}

impl Path for Short<'_> {
    fn base(&self) -> &dyn Base {
        self.0.base()
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        self.0.energy(t, x)
    }
}

impl Maps for Short<'_> {
    fn carry(&self, from: f64, to: f64, x: &Tensor) -> (Tensor, Tensor) {
        let (y, log_det) = self.0.carry(from, to, x);
        (y, log_det * 0.5)
    }
}

#[test]
fn a_stochastic_flow_weighs_exactly_along_a_learned_and_along_a_bad_flow() {
    let far = |z: &[f64]| z.iter().fold(0.0f64, |a, z| a.max(z.abs()));
    for (what, flow) in [("learned", trained()), ("shaken", shaken(2, 4, 0.15))] {
        let path = FlowBridge::new(&flow, modes()).unwrap();
        for steps in [8, 11] {
            let mala = Transport::new(Mapped::new(Reversed::sweeps(Mala::new(0.1), 2)), steps, 10_000, 3).quiet();
            let run = mala.run(&path).unwrap();
            let z = scores(&run);
            assert!(run.walkers.ess() > 0.02 && far(&z) < FAR, "{what}, {steps}: {z:?}, {}", run.walkers.ess());
            let ula = Transport::new(Mapped::new(Ula::new(0.05)), steps, 10_000, 4).quiet().run(&path).unwrap();
            let z = scores(&ula);
            assert!(far(&z) < FAR, "{what}, {steps}, ULA: {z:?}, {}", ula.walkers.ess());
        }
    }
    // the twin: half of the log-determinant
    let flow = trained();
    let twin = Short(FlowBridge::new(&flow, modes()).unwrap());
    let kernel = Mapped::new(Reversed::sweeps(Mala::new(0.1), 2));
    let z = scores(&Transport::new(kernel, 8, 10_000, 3).quiet().run(&twin).unwrap());
    assert!(far(&z) > FAR, "{z:?}");
}

#[test]
fn a_stochastic_flow_is_bracketed() {
    let flow = trained();
    let path = FlowBridge::new(&flow, modes()).unwrap();
    let draws = modes().sample(4_000, &mut Rng::new(9));
    let transport = Transport::new(Mapped::new(Reversed::new(Mala::new(0.1))), 8, 4_000, 0).quiet();
    let found = transport.bracket(&path, &ReverseStart::exact(&draws)).unwrap();
    let exact = Base::log_z(&modes());
    for (end, z) in [("forward", found.lower), ("reverse", found.upper)] {
        assert!(z_of(&z, exact).abs() < FAR, "{end}: {z:?} for {exact}");
    }
}

#[test]
fn training_goes_on_bit_for_bit() {
    let data = modes().sample(300, &mut Rng::new(1));
    let learning = |steps| MaximumLikelihood::new().steps(steps).batch(128).lr(0.01).data_noise(0.1).quiet();
    let bits = |run: &Run| run.column("loss_likelihood").unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let mut whole_flow = flow_of(2, 3);
    let whole = learning(20).train(&mut whole_flow, &data).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let part = Checkpointing::new(dir.path()).pause_after_steps(7);
    assert!(!learning(20).checkpointing(part).train(&mut flow_of(2, 3), &data).unwrap().finished());
    let mut flow = flow_of(2, 3);
    let run = learning(20).resume_or_start(dir.path()).train(&mut flow, &data).unwrap();
    assert!(run.finished() && bits(&run) == bits(&whole));
    let x = modes().sample(10, &mut Rng::new(2));
    assert!(flow.energy(&x).equal(&whole_flow.energy(&x)));
    let other = learning(20).seed(1).train(&mut flow_of(2, 3), &data).unwrap();
    assert!(bits(&other) != bits(&whole), "another seed");
}

#[test]
fn a_file_holds_the_flow_and_names_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("flow.safetensors");
    let flow = shaken(3, 4, 0.3);
    flow.save(&file).unwrap();
    let x = flow.sample(10, &mut Rng::new(0));
    let mut same = flow_of(3, 4);
    same.load(&file).unwrap();
    assert!(same.energy(&x).equal(&flow.energy(&x)) && flow.copy().unwrap().energy(&x).equal(&flow.energy(&x)));
    assert_eq!(Gaussian::load(&file).unwrap().log_z(), flow.start().unwrap().log_z());
    let e = flow_of(3, 2).load(&file).unwrap_err().to_string();
    assert!(e.contains("couplings"), "{e}");
    let start = Gaussian::new(&[0.0; 3], &[1.0; 3]).unwrap();
    let mut other = CouplingFlow::new(&start, &shape(4), Kind::Double, Device::Cpu).unwrap();
    let e = other.load(&file).unwrap_err().to_string();
    assert!(e.contains("start"), "{e}");
}

#[test]
fn what_makes_no_flow_is_refused_by_name() {
    let refused = |d: usize, shape: CouplingShape| {
        let start = Gaussian::new(&vec![0.0; d], &vec![1.0; d]).unwrap();
        CouplingFlow::new(&start, &shape, Kind::Double, Device::Cpu).unwrap_err().to_string()
    };
    assert!(refused(1, shape(2)).starts_with("dim = 1"));
    assert!(refused(2, shape(0)).starts_with("couplings = 0"));
    assert!(refused(2, CouplingShape { widths: vec![], ..shape(2) }).starts_with("widths"));
    assert!(refused(2, CouplingShape { bound: 0.0, ..shape(2) }).starts_with("bound = 0"));
    let data = modes().sample(100, &mut Rng::new(1));
    let e = MaximumLikelihood::new().batch(0).quiet().train(&mut flow_of(2, 2), &data).unwrap_err().to_string();
    assert!(e.starts_with("batch = 0"), "{e}");
    let e = MaximumLikelihood::new().quiet().train(&mut flow_of(3, 2), &data).unwrap_err().to_string();
    assert!(e.contains("data has shape [100, 2]"), "{e}");
}

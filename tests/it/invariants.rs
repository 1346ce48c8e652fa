//! Hold kernels that leave ρ invariant to a density that is not Gaussian, to each other, and to their orders in the step.

use crate::common::{FAR, worst, z_of};
use jarzynski::kernel::{Barker, Hmc, Invariant, Mala, RandomWalk, Transition, identify};
use jarzynski::model::targets::ManyWell;
use jarzynski::numeric::fit::log_log;
use jarzynski::tch::{Kind, Tensor};
use jarzynski::{Base, Energy, Evaluation, Kernel, Reversed, Rng};

const N: usize = 40_000;

/// z-scores of four moments after 15 sweeps from exact draws of a pair, a double well beside a normal.
fn scores(kernel: &dyn Invariant<ManyWell>) -> Vec<f64> {
    let target = ManyWell::pairs(2).unwrap();
    let mut rng = Rng::new(21);
    let mut at = target.evaluate(&target.sample(N, &mut rng));
    for _ in 0..15 {
        at = kernel.sweep(&target, &at, &mut rng).evaluation;
    }
    let (well, normal, moment) = (at.x.select(1, 0), at.x.select(1, 1), |p| target.well().moment(p));
    let tests = [
        (well.shallow_clone(), moment(1)),
        (well.square(), moment(2)),
        (well.square().square(), moment(4)),
        (normal.square(), 1.0),
    ];
    let anew = target.evaluate(&at.x);
    assert!(anew.u.equal(&at.u) && anew.grad().equal(at.grad()), "U and ∇U are those of the position");
    tests.iter().map(|(g, exact)| z_of(g, *exact)).collect()
}

/// A Metropolis test with another ratio than the proposal's: what each twin gets wrong.
fn mixed(at: &Evaluation, there: Evaluation, log_ratio: &Tensor, rng: &mut Rng) -> Transition {
    let accept = rng.uniform_tensor(&log_ratio.size(), Kind::Double, log_ratio.device()).log().lt_tensor(log_ratio);
    let wide = accept.unsqueeze(-1);
    let evaluation = Evaluation::new(
        there.x.where_self(&wide, &at.x),
        there.u.where_self(&accept, &at.u),
        there.grad().where_self(&wide, at.grad()),
    );
    Transition { evaluation, acceptance: Tensor::from(1.0), cost: jarzynski::kernel::EvalCounts::default() }
}

/// HMC that accepts by U alone, without the kinetic energy.
#[derive(Debug)]
struct WithoutKinetic;

/// Barker's proposal with the Metropolis test of a symmetric one.
#[derive(Debug)]
struct Symmetric;

/// A random walk that accepts all.
#[derive(Debug)]
struct Accepting;

impl Invariant<ManyWell> for WithoutKinetic {
    fn sweep(&self, u: &ManyWell, at: &Evaluation, rng: &mut Rng) -> Transition {
        let step = 0.25;
        let p = rng.normal(&at.x.size(), at.x.kind(), at.x.device()) - at.grad() * (0.5 * step);
        let there = u.evaluate(&(&at.x + p * step));
        let ratio = &at.u - &there.u;
        mixed(at, there, &ratio, rng)
    }
}

impl Invariant<ManyWell> for Symmetric {
    fn sweep(&self, u: &ManyWell, at: &Evaluation, rng: &mut Rng) -> Transition {
        let z = rng.normal(&at.x.size(), at.x.kind(), at.x.device()) * 0.4;
        let uniform = rng.uniform_tensor(&at.x.size(), at.x.kind(), at.x.device());
        let sign = uniform.lt_tensor(&(-(&z * at.grad())).sigmoid());
        let there = u.evaluate(&(&at.x + z.where_self(&sign, &-&z)));
        let ratio = &at.u - &there.u;
        mixed(at, there, &ratio, rng)
    }
}

impl Invariant<ManyWell> for Accepting {
    fn sweep(&self, u: &ManyWell, at: &Evaluation, rng: &mut Rng) -> Transition {
        let there = u.evaluate(&(&at.x + rng.normal(&at.x.size(), at.x.kind(), at.x.device()) * 0.05));
        let ratio = there.u.zeros_like() + 1.0;
        mixed(at, there, &ratio, rng)
    }
}

#[test]
fn each_leaves_a_double_well_as_it_is() {
    let kernels: [(&str, &dyn Invariant<ManyWell>); 6] = [
        ("mala", &Mala::new(0.03)),
        ("hmc, 1 leapfrog", &Hmc::new(0.25, 1)),
        ("hmc, 5 leapfrogs", &Hmc::new(0.2, 5)),
        ("random walk", &RandomWalk::new(0.5)),
        ("barker", &Barker::new(0.4)),
        ("barker, coarse", &Barker::new(3.0)),
    ];
    for (name, kernel) in kernels {
        let z = scores(kernel);
        assert!(worst(&z) < FAR, "{name}: {z:?}");
    }
    let twins: [(&str, &dyn Invariant<ManyWell>); 3] =
        [("without kinetic energy", &WithoutKinetic), ("as if symmetric", &Symmetric), ("accepting", &Accepting)];
    for (name, kernel) in twins {
        let z = scores(kernel);
        assert!(worst(&z) > FAR, "{name} must be rejected: {z:?}");
    }
}

#[test]
fn one_leapfrog_is_mala() {
    let target = ManyWell::pairs(4).unwrap();
    let at = target.evaluate(&target.sample(1_000, &mut Rng::new(1)));
    let step = 0.3;
    let hmc = Hmc::new(step, 1).sweep(&target, &at, &mut Rng::new(2));
    let mala = Mala::new(0.5 * step * step).sweep(&target, &at, &mut Rng::new(2));
    let gap = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
    assert!(gap(&hmc.evaluation.x, &mala.evaluation.x) < 1e-12 && gap(&hmc.acceptance, &mala.acceptance) < 1e-12);
    assert!(hmc.acceptance.double_value(&[]) < 0.98, "some must be rejected for the comparison to mean something");
    assert_eq!((hmc.cost, Hmc::new(step, 3).sweep(&target, &at, &mut Rng::new(2)).cost.forward), (mala.cost, 3_000));
}

/// The exponent of ε in the share that is rejected, from equilibrium.
fn rejection_order(leapfrogs: impl Fn(f64) -> usize) -> f64 {
    let target = ManyWell::pairs(2).unwrap();
    let at = target.evaluate(&target.sample(400_000, &mut Rng::new(5)));
    let steps = [0.12, 0.06, 0.03];
    let rejected: Vec<f64> = steps
        .iter()
        .map(|step| {
            let kernel = Hmc::new(*step, leapfrogs(*step));
            1.0 - kernel.sweep(&target, &at, &mut Rng::new(6)).acceptance.double_value(&[])
        })
        .collect();
    log_log(&steps, &rejected).unwrap().slope
}

#[test]
fn rejections_fall_at_the_declared_orders() {
    let (fixed_length, one_step) = (rejection_order(|step| (0.36 / step).round() as usize), rejection_order(|_| 1));
    assert!((fixed_length - 2.0).abs() < 0.15, "{fixed_length}");
    assert!((one_step - 3.0).abs() < 0.15, "{one_step}");
}

#[test]
fn settings_are_part_of_the_identity() {
    type Any<'a> = &'a dyn Kernel<ManyWell>;
    let of = |kernel: Any| kernel.identity().unwrap();
    let (hmc, other) = (Reversed::new(Hmc::new(0.1, 3)), Reversed::new(Hmc::new(0.1, 4)));
    assert_eq!(of(&hmc)["Reversed"]["kernel"], identify("Hmc", &Hmc::new(0.1, 3)).unwrap());
    assert_ne!(of(&hmc), of(&other));
    assert_ne!(of(&Reversed::new(Barker::new(0.1))), of(&Reversed::new(Barker::new(0.2))));
    assert_ne!(of(&Reversed::new(RandomWalk::new(0.1))), of(&Reversed::new(Barker::new(0.1))));
}

//! Check the slopes that the losses compare against differences of the energy.

use super::balance::increments;
use super::slopes::leading;
use super::*;
use crate::density::{At, Path};
use crate::kernel::{Denoise, Kernel};
use crate::model::{LadderNet, LadderShape};
use tch::Device;

/// An MLP that sees two of three axes.
fn mlp() -> LadderNet {
    LadderNet::Mlp { widths: vec![7, 5], axes: Some(2) }
}

/// A ladder in f64 with random weights in three dimensions.
fn random_ladder(scale: f64, components: usize, net: LadderNet) -> (NoiseLadder, Rng) {
    let mut rng = Rng::new(3);
    let mut random = |size: &[i64]| rng.normal(size, Kind::Double, Device::Cpu);
    let data = random(&[50, 3]).matmul(&random(&[3, 3]));
    let shape = LadderShape { net, components, mixture_axes: Some(2), ..Default::default() };
    let ladder = NoiseLadder::new(&data, 0.2, &shape).unwrap();
    no_grad(|| ladder.vars().trainable_variables().iter_mut().for_each(|p| p.copy_(&(random(&p.size()) * scale))));
    (ladder, rng)
}

#[test]
fn slopes_are_differences_of_the_energy() {
    for components in [1, 3] {
        slopes_of(components, mlp());
        slopes_of(components, LadderNet::cnn(&[3, 4], &[1, 3]));
    }
}

fn slopes_of(components: usize, net: LadderNet) {
    let seen = if net == mlp() { 2 } else { 3 };
    let (ladder, mut rng) = random_ladder(0.7, components, net);
    let mut random = |size: &[i64]| rng.normal(size, Kind::Double, Device::Cpu);
    let (z, n) = (random(&[6, 3]) * 2.0, 6);
    let moved = |axis: i64| {
        &z + Tensor::zeros([3], (Kind::Double, Device::Cpu)).index_fill(0, &Tensor::from(axis).view(1), 1.0)
    };
    let f = |z: &Tensor| no_grad(|| ladder.residual(z, &Tensor::full([1, 1], 0.5, (Kind::Double, Device::Cpu))));
    for axis in 0..3 {
        assert_eq!(f(&moved(axis)).equal(&f(&z)), axis < 3 - seen, "axis {axis}");
    }
    for time in [0.1, 0.5, 0.9] {
        let t = Tensor::full([n, 1], time, (Kind::Double, Device::Cpu));
        let slopes = Slopes::at(&ladder, &t, &z).unwrap();
        let (slope, rate) = (slopes.score(), slopes.rate());
        let noise = random(&[6, 3]);
        let by_hand = (&slope - &noise).square().sum_dim_intlist(-1, false, Kind::Double) * 0.5;
        let found = slopes.denoising(&noise);
        assert!((&found - by_hand).abs().max().double_value(&[]) < 1e-10);
        // Twin: other noise along the axis that the network does not see.
        let other = slopes.denoising(&(&noise + moved(0) - &z));
        assert!((found - other).abs().min().double_value(&[]) > 1e-3);
        let energies = no_grad(|| ladder.energy(time, &ladder.axes().from_axes(&z)));
        assert!((slopes.energy() - energies).abs().max().double_value(&[]) < 1e-10);
        let energy = |t: f64, z: &Tensor| no_grad(|| ladder.energy(t, &ladder.axes().from_axes(z)));
        let h = 1e-5;
        for j in 0..3 {
            let step = Tensor::zeros([3], (Kind::Double, Device::Cpu)).index_fill(0, &Tensor::from(j).view(1), h);
            let by_hand = (energy(time, &(&z + &step)) - energy(time, &(&z - &step))) / (2.0 * h) * ladder.sigma(time);
            assert!((slope.select(1, j) - by_hand).abs().max().double_value(&[]) < 1e-8, "axis {j} at {time}");
        }
        let by_hand = (energy(time + h, &z) - energy(time - h, &z)) / (2.0 * h * ladder.pace());
        let off = (&rate - &by_hand).abs().max().double_value(&[]);
        // differences of energies as large as these are rounded to that
        let size = rate.abs().max().double_value(&[]).max(1.0);
        assert!(off < 1e-7 * size, "the slope in log σ at {time} is off by {off}");
        // Twin: without the part of f that comes through u.
        let gap = (rate - by_hand * 0.9).abs().max().double_value(&[]);
        assert!(gap > 1e-3, "{gap}");
    }
}

#[test]
fn increments_are_those_of_the_walkers_log_weights() {
    for (scale, untrained, components) in [(0.7, false, 1), (0.0, true, 1), (0.7, false, 3), (0.0, true, 3)] {
        let (ladder, mut rng) = random_ladder(scale, components, mlp());
        let (n, h) = (6, 0.05);
        let x = rng.normal(&[n, 3], Kind::Double, Device::Cpu) * 2.0;
        let from = At { h, ..At::new(&ladder, 0.4) };
        let to = At { h, ..At::new(&ladder, 0.4 + h) };
        let at = from.path.evaluate(from.t, &x);
        let moved = Denoise::new().forward(&from, &at, &mut rng);
        let (alpha, y) = (moved.alpha.shallow_clone(), ladder.axes().to_axes(&moved.y));
        let expected = alpha - Denoise::new().backward(&to, &at, moved, &mut rng).lambda;
        let time = |t: f64| Tensor::full([n, 1], t, (Kind::Double, Device::Cpu));
        let upper = Slopes::at(&ladder, &time(0.4), &ladder.axes().to_axes(&x)).unwrap();
        let y = leading(&ladder, &y);
        let found = increments(&upper, &time(0.4 + h), &y).0;
        assert!((&found - &expected).abs().max().double_value(&[]) < 1e-10, "{found:?} {expected:?}");
        assert_eq!(found.abs().max().double_value(&[]) < 1e-10, untrained, "{found:?}");
        // Twin: a step of another length.
        let other = increments(&upper, &time(0.4 + 1.1 * h), &y).0;
        assert_eq!((other - expected).abs().max().double_value(&[]) > 1e-3, !untrained);
    }
}

/// Mean of e^A over the walkers while θ changes at every update, with its standard error, and the same of walkers that come down the
/// final ladder: Prop. 1. `mend`: added to the log-weights for each change of θ.
fn weights_under_changing_parameters(mend: f64) -> f64 {
    let (ladder, _) = random_ladder(0.25, 2, mlp());
    let balance = Balance { count: 40_000, step: 0.4, ..Default::default() };
    let mut walkers = Descending::new(balance, &ladder, Rng::new(5));
    walkers.made = walkers.made.zeros_like();
    walkers.z = ladder.known().sample(
        40_000,
        &variances(&ladder, &Tensor::zeros([1, 1], (Kind::Double, Device::Cpu))),
        &mut Rng::new(6),
    );
    let row = ladder.known().sample(1, &Tensor::from_slice(&[1.0]), &mut Rng::new(7));
    let top = Tensor::zeros([1, 1], (Kind::Double, Device::Cpu));
    let steps = (-ladder.pace() / 0.4).round() as usize;
    let slopes = |walkers: &Descending| {
        let (t, z) = walkers.rows();
        Slopes::at(&ladder, &Tensor::cat(&[&top, &t], 0), &Tensor::cat(&[&row, z], 0)).unwrap()
    };
    for _ in 0..steps - 1 {
        let all = slopes(&walkers);
        let _ = walkers.loss(&all, &row);
        no_grad(|| ladder.vars().trainable_variables().iter_mut().for_each(|p| p.copy_(&(&*p * 1.15))));
        walkers.raised = &walkers.raised + mend;
    }
    let all = slopes(&walkers);
    let a = walkers.log_weights(&all.rows(1, 40_000).f.to_kind(Kind::Double)).exp();
    // the walkers are one step above the bottom; Z there, by a descent of its own
    let t = 1.0 - 1.0 / steps as f64;
    let at = Tensor::from_slice(&[ladder.sigma(t).powi(2)]);
    let z = ladder.known().sample(40_000, &at, &mut Rng::new(8));
    let lift = no_grad(|| {
        -ladder.residual(
            &(&z / (ladder.axes().variances() + &at).sqrt()),
            &Tensor::full([1, 1], t, (Kind::Double, Device::Cpu)),
        )
    });
    let lift = lift.to_kind(Kind::Double).exp();
    let part = |t: &Tensor| (t.mean(Kind::Double).double_value(&[]), t.var(true).double_value(&[]) / 40_000.0);
    let ((mean, square), (known, other)) = (part(&a), part(&lift));
    (mean - known) / (square + other).sqrt()
}

#[test]
fn log_weights_follow_steps_and_changes_of_parameters() {
    let z = weights_under_changing_parameters(0.0);
    assert!(z.abs() < 5.0, "{z}");
    // Twin: a little more at every change.
    let z = weights_under_changing_parameters(0.02);
    assert!(z.abs() > 5.0, "{z}");
}

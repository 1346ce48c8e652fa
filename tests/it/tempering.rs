//! Check tempering over temperatures, straight lines and trajectories: log Z, means, swap rates, and modes that appear late.

use crate::bracket::{late_mode, machine, z};
use crate::common::{FAR, z_of};
use jarzynski::density::{Bipartite, Layers};
use jarzynski::io::frame::column_f64;
use jarzynski::model::{Rbm, RbmShape, Tempered, Units, exact_draws, exact_log_z};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::{Ais, Gibbs, Method, Rng, Tempering, Trainer};

#[test]
fn tempering_knows_its_own_error() {
    let rbm = machine(8, 5, 1.2, 9);
    let exact = rbm.exact_log_z().unwrap();
    type Make = fn() -> Tempering;
    let makes: [(&str, Make); 3] = [
        ("betas", || Tempering::new().replicas(6).chains(60)),
        ("straight", || Tempering::new().straight(5).chains(60)),
        ("blocks of few chains", || Tempering::new().replicas(6).chains(4).rounds(1_200)),
    ];
    for (name, make) in makes {
        let square: f64 = (0..30)
            .map(|seed| {
                let tempering = make().seed(seed);
                let rounds = if tempering.rounds == 1_000 { 120 } else { tempering.rounds };
                let found = tempering.rounds(rounds).run(&rbm).unwrap();
                assert!(found.round_trips > 1.0, "{name}");
                z(found.log_z, exact).powi(2)
            })
            .sum();
        assert!((square - 30.0).abs() < FAR * 60f64.sqrt(), "{name}: Σ z² of 30 is {square}");
    }
    // each pair's log-ratio
    let found = Tempering::new().replicas(5).chains(400).rounds(100).run(&rbm).unwrap();
    let read = |name: &str| column_f64(&found.swaps, name).unwrap();
    let (place, next, ratio, se) = (read("place"), read("next"), read("log_ratio"), read("log_ratio_se"));
    for i in 0..4 {
        let log_z = |beta: f64| exact_log_z(&rbm.layers().tempered(beta)).unwrap();
        let z = z_of(&(ratio[i], se[i]), log_z(next[i]) - log_z(place[i]));
        assert!(z.abs() < FAR, "{i}: {z}");
    }
    // Twin: the log Z of the machine at β = .9.
    assert!(z(found.log_z, exact_log_z(&rbm.layers().tempered(0.9)).unwrap()).abs() > FAR);
    let e = Tempering::new().through(vec![machine(8, 4, 1.0, 1).units()]).run(&rbm).unwrap_err().to_string();
    assert!(e.contains("saved parameters"), "{e}");
    assert!(Tempering::new().straight(1).run(&rbm).unwrap_err().to_string().contains("replicas = 1"));
}

/// Parameters on the way of a training that splits the two groups of [`late_mode`] ever further, their masses kept.
fn trajectory_to_late_mode(stops: usize) -> Vec<Units> {
    let (logit, softplus) = (|p: f64| (p / (1.0 - p)).ln(), |x: f64| x.exp().ln_1p());
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let (mass, on, off) = (sigmoid(2.0), sigmoid(1.0), sigmoid(-3.0));
    let mean = mass * on + (1.0 - mass) * off;
    let full = |size: &[i64], v: f64| Tensor::full(size, v, (Kind::Double, Device::Cpu));
    let at = |t: f64| {
        let (on, off) = (mean + t * (on - mean), mean + t * (off - mean));
        let c = logit(mass) - 60.0 * (softplus(logit(on)) - softplus(logit(off)));
        Units::bernoulli(&full(&[60, 1], logit(on) - logit(off)), &full(&[60], logit(off)), &full(&[1], c)).unwrap()
    };
    (0..stops).map(|i| at(i as f64 / stops as f64)).collect()
}

#[test]
fn trajectory_tempering_finds_a_late_mode_that_temperatures_and_straight_lines_miss() {
    let late = late_mode();
    // with the means of its draws as the start, as a training would have it
    let (v, _) = exact_draws(&late.layers(), 2_000, &mut Rng::new(3)).unwrap();
    let rbm = Rbm::bernoulli(&v, &RbmShape { hidden: 1, ..Default::default() }).unwrap();
    rbm.set_units(&late.units()).unwrap();
    let exact = rbm.exact().unwrap();
    let make = || Tempering::new().chains(500).rounds(400).seed(2);
    let through = make().through(trajectory_to_late_mode(12)).run(&rbm).unwrap();
    let activity = |t: &Tempered| t.v.mean_dim([-1].as_slice(), false, Kind::Double);
    let mean = exact.v.mean(Kind::Double).double_value(&[]);
    let found = through.log_z;
    assert!(
        z(found, exact.log_z).abs() < FAR && found.se < 0.01 && found.warning.is_none(),
        "{found}, {}",
        exact.log_z
    );
    assert!(z_of(&activity(&through), mean).abs() < FAR && through.round_trips > 10.0);
    // AIS through the same parameters finds it too
    let ais = || Ais::new().steps(300).walkers(1_000).quiet();
    let found = ais().through(trajectory_to_late_mode(12)).log_z(&rbm).unwrap();
    assert!(z(found, exact.log_z).abs() < FAR, "{found}, {}", exact.log_z);
    // each of the others sees the mode only, and is sure of it: log Z is low by −log of its mass, .127
    for other in [make().replicas(10), make().straight(10)] {
        let found = other.run(&rbm).unwrap();
        assert!(z(found.log_z, exact.log_z) < -FAR && z_of(&activity(&found), mean) > FAR, "{}", found.log_z);
        assert!((found.log_z.value - exact.log_z + 0.127).abs() < 0.02, "{}", found.log_z);
        assert!(found.log_z.warning.is_none(), "a group that no chain has visited leaves no trace");
    }
    let found = ais().log_z(&rbm).unwrap();
    assert!(z(found, exact.log_z) < -FAR && (found.value - exact.log_z + 0.127).abs() < 0.02, "{found}");
}

#[test]
fn saved_parameters_are_chosen_by_their_swap_rate() {
    let rbm = machine(40, 8, 1.0, 21);
    let exact = rbm.exact_log_z().unwrap();
    let rates = |t: &Tempering| {
        let found = t.run(&rbm).unwrap();
        assert!(z(found.log_z, exact).abs() < FAR, "{}, exact {exact}", found.log_z);
        column_f64(&found.swaps, "rate").unwrap()
    };
    let make = || Tempering::new().chains(300).rounds(100).seed(1);
    let saved = || (1..60).map(|i| rbm.start().between(&rbm.units(), f64::from(i) / 60.0)).collect::<Vec<_>>();
    type Make<'a> = Box<dyn Fn() -> Tempering + 'a>;
    let all: [(&str, Make); 3] = [
        ("saved", Box::new(|| make().through(saved()))),
        ("straight", Box::new(|| make().straight(61))),
        ("betas", Box::new(|| make().replicas(61))),
    ];
    for (name, tempering) in all {
        for target in [0.3, 0.5] {
            let thin = rates(&tempering().thinned(&rbm, target, 40).unwrap());
            // from one listed replica to the next the rate falls by up to .1, and the last pair has what is left over
            let (last, others) = thin.split_last().unwrap();
            assert!(*last > target - 0.06 && others.len() > 1, "{name}, {target}: {thin:?}");
            assert!(others.iter().all(|r| *r > target - 0.06 && *r < target + 0.1), "{name}, {target}: {thin:?}");
        }
    }
    // Twin: unthinned, neighbours swap nearly always.
    let dense = rates(&make().rounds(20).through(saved()));
    assert!(dense.len() == 60 && dense.iter().all(|r| *r > 0.85), "{dense:?}");
    let e = make().thinned(&rbm, 1.0, 10).unwrap_err().to_string();
    assert!(e.contains("rate = 1"), "{e}");
}

#[test]
fn replicas_saved_along_a_training_know_log_z() {
    let x = jarzynski::data::digits()
        .unwrap()
        .binarise(jarzynski::data::Binarisation::Threshold(0.5))
        .unwrap()
        .x
        .to_kind(Kind::Double);
    let rbm = Rbm::bernoulli(&x, &RbmShape { hidden: 8, centred: true, ..Default::default() }).unwrap();
    let trainer = Trainer::new(Gibbs::new(), Method::Pcd).walkers(100).batch(100).steps(2_000).lr(0.2).quiet();
    let (mut saved, mut run) = (Vec::new(), trainer.start(rbm, &x).unwrap());
    while let Some(step) = run.step().unwrap() {
        if step.step % 50 == 0 {
            saved.push(step.model.units().copy());
        }
    }
    let (_, rbm) = run.finish().unwrap();
    let exact = rbm.exact().unwrap();
    let tempering = Tempering::new().chains(500).rounds(200).through(saved).thinned(&rbm, 0.3, 30).unwrap();
    let found = tempering.run(&rbm).unwrap();
    let replicas = found.swaps.height() + 1;
    assert!((4..10).contains(&replicas), "{replicas}");
    assert!(z(found.log_z, exact.log_z).abs() < FAR && found.log_z.se < 0.05, "{}, {}", found.log_z, exact.log_z);
    for j in [11, 20, 27, 36, 43, 50] {
        assert!(z_of(&found.v.select(1, j), exact.v.double_value(&[j])).abs() < FAR, "{j}");
    }
    // Twin: the chains of the start are not those of the machine.
    let start = Tempering::new().straight(2).chains(500).rounds(1).run(&rbm).unwrap();
    assert!((0..64).any(|j| z_of(&start.halfway.select(1, j), exact.v.double_value(&[j])).abs() > FAR));
}

/// Two groups of rows far from each other, their shares .3 and .7.
fn two_groups(n: i64, d: i64) -> Tensor {
    let mut rng = Rng::new(11);
    let mut uniform = |d: i64| rng.uniform_tensor(&[n, d], Kind::Double, Device::Cpu);
    let one = uniform(1).lt(0.3).to_kind(Kind::Double);
    let flips = uniform(d).lt(0.05).to_kind(Kind::Double);
    (one - flips).abs()
}

#[test]
fn walkers_that_swap_along_the_trajectory_stay_in_equilibrium() {
    let data = two_groups(1_000, 40);
    let active = |v: &Tensor| v.mean_dim([-1].as_slice(), false, Kind::Double);
    let trained = |method| {
        let mut rbm = Rbm::bernoulli(&data, &RbmShape { hidden: 3, ..Default::default() }).unwrap();
        let trainer = Trainer::new(Gibbs::new(), method).walkers(1_000).steps(600).lr(0.2).seed(1).quiet();
        let run = trainer.train(&mut rbm, &data).unwrap();
        // at the last parameters as at any: what the walkers' mean is off by, in standard errors
        (z_of(&active(run.walkers.x()), rbm.exact().unwrap().v.mean(Kind::Double).double_value(&[])), run)
    };
    let (off, run) = trained(Method::Ptt { rate: 0.25 });
    let (replicas, rate) = (run.column("replicas").unwrap(), run.column("swap_rate").unwrap());
    let (last, lowest) = (*replicas.last().unwrap(), rate.iter().skip(1).fold(1.0, |a: f64, b| a.min(*b)));
    assert!(off.abs() < FAR, "{off} standard errors off");
    assert!((3.0..30.0).contains(&last) && replicas[0] == 2.0 && lowest > 0.1, "{last} replicas, rates from {lowest}");
    // Twin: without swaps the same walkers are shut in, and the model's masses are not theirs.
    let (off, _) = trained(Method::Pcd);
    assert!(off.abs() > FAR, "{off} standard errors off");
}

//! Ladders that learn with a CNN of the pixels, and in bfloat16.

use jarzynski::kernel::Denoise;
use jarzynski::model::{LadderNet, LadderShape, NoiseLadder};
use jarzynski::run::Checkpointing;
use jarzynski::tch::{Device, Kind, Tensor, no_grad};
use jarzynski::train::{Balance, DualScoreMatching};
use jarzynski::{Path, Rng, Transport};

/// Images of two by three pixels in three colours.
const IMAGE: [i64; 3] = [3, 2, 3];

fn images(n: i64, kind: Kind) -> Tensor {
    let mut rng = Rng::new(8);
    let mut random = |size: &[i64]| rng.normal(size, kind, Device::Cpu);
    random(&[n, 18]).matmul(&random(&[18, 18])) * 0.3
}

fn shape(channels: &[i64], mixed: bool) -> LadderShape {
    LadderShape {
        net: LadderNet::cnn(channels, &IMAGE),
        components: 2,
        mixture_axes: Some(3),
        mixed,
        ..Default::default()
    }
}

/// Fills all parameters, so that the network says something.
fn scramble(ladder: &NoiseLadder) {
    let mut rng = Rng::new(5);
    let mut named: Vec<_> = ladder.vars().variables().into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    no_grad(|| named.iter_mut().for_each(|(_, p)| p.copy_(&(rng.normal(&p.size(), p.kind(), Device::Cpu) * 0.3))));
}

#[test]
fn a_cnn_that_learned_nothing_leaves_weights_constant() {
    let ladder = NoiseLadder::new(&images(60, Kind::Double), 0.1, &shape(&[4, 5, 6], false)).unwrap();
    let spread = || {
        let run = Transport::new(Denoise::new(), 7, 50, 1).quiet().run(&ladder).unwrap();
        let a = Vec::<f64>::try_from(run.walkers.log_weights()).unwrap();
        a.iter().fold(0.0, |largest: f64, b| largest.max((b - a[0]).abs()))
    };
    assert!(spread() < 1e-10);
    // Twin: with any weights in the network they vary.
    scramble(&ladder);
    assert!(spread() > 0.01);
}

#[test]
fn bfloat16_below_the_last_layer_changes_energies_by_its_rounding_alone() {
    for net in [LadderNet::cnn(&[4, 5], &IMAGE), LadderNet::mlp(&[16, 16])] {
        let of = |mixed| LadderShape { net: net.clone(), mixed, ..shape(&[1], false) };
        let [full, half] = [false, true].map(|mixed| {
            let ladder = NoiseLadder::new(&images(60, Kind::Float), 0.1, &of(mixed)).unwrap();
            scramble(&ladder);
            ladder
        });
        let x = images(40, Kind::Float);
        let energies = |ladder: &NoiseLadder| no_grad(|| ladder.energy(0.8, &x));
        let untrained = NoiseLadder::new(&images(60, Kind::Float), 0.1, &of(false)).unwrap();
        let learned = (energies(&full) - energies(&untrained)).abs().max().double_value(&[]);
        let gap = (energies(&full) - energies(&half)).abs().max().double_value(&[]);
        // eight bits of mantissa in each of three layers
        assert!(gap > 0.0 && gap < 0.03 * learned, "{net:?}: {gap} of {learned}");
        let file = tempfile::tempdir().unwrap();
        let path = file.path().join("ladder.safetensors");
        full.save(&path).unwrap();
        let mut half = half;
        assert!(half.load(&path).unwrap_err().to_string().contains("mixed"));
    }
}

#[test]
fn training_a_cnn_lowers_its_losses_and_goes_on_with_the_same_bits() {
    let data = images(80, Kind::Float);
    for mixed in [false, true] {
        let new = || NoiseLadder::new(&data, 0.1, &shape(&[4, 6], mixed)).unwrap();
        let balance = Balance { count: 8, ..Default::default() };
        let fit = || DualScoreMatching::new().steps(60).batch(40).lr(3e-3).balance(balance).every(1).progress(0.0);
        let mut whole = new();
        let expected = fit().train(&mut whole, &data).unwrap();
        let loss = expected.column("loss_denoising").unwrap();
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        assert!(expected.finished() && mean(&loss[51..]) < mean(&loss[1..11]), "{loss:?}");
        let dir = tempfile::tempdir().unwrap();
        let part = loop {
            let mut part = new();
            let keep = Checkpointing::resume_or_start(dir.path()).pause_after_steps(25).every_steps(10);
            if fit().checkpointing(keep).train(&mut part, &data).unwrap().finished() {
                break part;
            }
        };
        for (name, t) in whole.vars().variables() {
            assert!(t.equal(&part.vars().variables()[&name]), "{name}");
        }
    }
}

#[test]
fn images_of_another_size_and_channels_of_none_are_refused() {
    let refused = |net: LadderNet| {
        let shape = LadderShape { net, ..Default::default() };
        NoiseLadder::new(&images(60, Kind::Float), 0.1, &shape).unwrap_err().to_string()
    };
    for wrong in [vec![18], vec![3, 3, 3], vec![], vec![-3, -2, 3], vec![3, 2, 3, 1], vec![i64::MAX, i64::MAX, 2]] {
        let e = refused(LadderNet::cnn(&[4], &wrong));
        assert!(e.contains("[height, width] or [channels, height, width] with product 18"), "{wrong:?}: {e}");
    }
    assert!(refused(LadderNet::cnn(&[], &IMAGE)).contains("channels"));
    assert!(refused(LadderNet::cnn(&[4, 0], &IMAGE)).contains("channels = 0"));
}

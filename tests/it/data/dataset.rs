//! Data sets: kinds, selections, splits, scales.

use super::*;

fn small() -> Dataset {
    let x = Tensor::from_slice(&[0.0_f64, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]).view([5, 2]);
    Dataset::new("small", x).unwrap().with_labels(vec![7, 3, 7, 3, 7]).unwrap()
}

#[test]
fn select_takes_the_first_of_each_class_in_the_order_of_the_file() {
    let data = small();
    let some = data.select(&[3, 7], &[1, 2]).unwrap();
    assert_eq!(values(&some.x), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(some.labels, Some(vec![7, 3, 7]));
    assert_eq!(some.counts(), [(3, 1), (7, 2)].into());
    assert_eq!(values(&data.select(&[3], &[2]).unwrap().x), [2.0, 3.0, 6.0, 7.0]);
    assert_eq!((data.len(), data.counts()), (5, [(3, 2), (7, 3)].into()), "the original is as it was");
}

#[test]
fn select_says_what_is_missing() {
    let data = small();
    let select = |labels: &[i64], counts: &[usize]| message(data.select(labels, counts));
    assert_eq!(select(&[3, 7], &[1, 4]), "count = 4: expected at most 3, the examples of label 7 in small");
    assert_eq!(select(&[9], &[1]), "count = 1: expected at most 0, the examples of label 9 in small");
    assert_eq!(select(&[3, 7], &[1]), "counts = [1]: expected one per label of [3, 7]");
    assert_eq!(select(&[3, 3], &[1, 1]), "labels = [3, 3]: expected each label once");
    assert_eq!(select(&[3, 7], &[0, 0]), "counts = [0, 0]: expected at least one example");
    let bare = Dataset::new("bare", data.x.shallow_clone()).unwrap();
    assert_eq!(message(bare.select(&[3], &[1])), "labels = none: expected bare with a label per example");
}

#[test]
fn split_in_order_keeps_order_and_labels_and_refuses_an_empty_part() {
    let (first, rest) = small().split_in_order(2).unwrap();
    assert_eq!((values(&first.x), first.labels), (vec![0.0, 1.0, 2.0, 3.0], Some(vec![7, 3])));
    assert_eq!((rest.len(), rest.labels), (3, Some(vec![7, 3, 7])));
    for n in [0, 5] {
        let expected = format!("n = {n}: expected from 1 to 4 examples in the first part: small has 5");
        assert_eq!(message(small().split_in_order(n)), expected);
        assert_eq!(message(small().split(Share::Examples(n), 1)), expected);
    }
}

/// A set sorted by class: 100, 7 and 13 examples, each with its own number as only coordinate.
fn sorted() -> Dataset {
    let numbers: Vec<f64> = (0..120).map(f64::from).collect();
    let labels = [(5, 100), (-1, 7), (2, 13)].into_iter().flat_map(|(label, n)| vec![label; n]).collect();
    Dataset::new("sorted", Tensor::from_slice(&numbers).view([120, 1])).unwrap().with_labels(labels).unwrap()
}

#[test]
fn split_gives_each_class_its_share_and_every_example_to_one_part() {
    let data = sorted();
    let own = data.labels.clone().unwrap();
    for seed in 0..20 {
        // exact shares at 1/4: 25, 1.75, 3.25, of 30
        let (first, rest) = data.split(0.25, seed).unwrap();
        assert_eq!(first.counts(), [(-1, 2), (2, 3), (5, 25)].into());
        assert_eq!(rest.counts(), [(-1, 5), (2, 10), (5, 75)].into());
        let mut all = [values(&first.x), values(&rest.x)].concat();
        let labels = [first.labels.unwrap(), rest.labels.unwrap()].concat();
        assert!(
            all.iter().zip(&labels).all(|(&v, &label)| own[v as usize] == label),
            "labels stay with their examples"
        );
        assert_ne!(all, values(&data.x), "the parts are in random order");
        all.sort_by(f64::total_cmp);
        assert_eq!(all, values(&data.x));
    }
    let parts = |seed| data.split(Share::Examples(30), seed).map(|(a, b)| (values(&a.x), values(&b.x))).unwrap();
    assert_eq!(parts(3), parts(3));
    assert_ne!(parts(3), parts(4));
    assert_eq!(parts(3).0.len(), 30);
    // what the first rows would have given
    assert_eq!(data.split_in_order(30).unwrap().0.counts(), [(5, 30)].into());
    for bad in [0.0, 1.0, -0.5, 1.5, f64::NAN] {
        let e = message(data.split(bad, 0));
        assert_eq!(e, format!("share = {bad}: expected a fraction between 0 and 1, both excluded"));
    }
}

/// The z-score of how often each example comes into the first part, over the seeds.
fn worst_z(data: &Dataset, p: f64, seeds: u64) -> f64 {
    let mut counts = vec![0.0; data.len()];
    for seed in 0..seeds {
        let (first, _) = data.split(Share::Examples((p * data.len() as f64) as usize), seed).unwrap();
        values(&first.x).iter().for_each(|&v| counts[v as usize] += 1.0);
    }
    let (n, error) = (seeds as f64, (p * (1.0 - p) / seeds as f64).sqrt());
    counts.iter().map(|c| (c / n - p).abs() / error).fold(0.0, f64::max)
}

#[test]
fn every_example_is_equally_likely_in_either_part() {
    let numbers: Vec<f64> = (0..40).map(f64::from).collect();
    let bare = Dataset::new("bare", Tensor::from_slice(&numbers).view([40, 1])).unwrap();
    assert!(worst_z(&bare, 0.25, 2_000) < 5.0);
    let halves = (0..40).map(|i| i / 20).collect();
    let labelled = bare.with_labels(halves).unwrap();
    assert!(worst_z(&labelled, 0.25, 2_000) < 5.0);
    // the same test on a split that prefers the first of each class
    let (mut counts, seeds) = (0.0, 2_000.0_f64);
    (0..2_000).for_each(|_| {
        counts += values(&labelled.split_in_order(10).unwrap().0.x).iter().filter(|v| **v == 0.0).count() as f64
    });
    assert!((counts / seeds - 0.25).abs() / (0.25 * 0.75 / seeds).sqrt() > 5.0);
}

#[test]
fn shuffled_keeps_all_examples_with_their_labels() {
    let data = sorted();
    let (a, b) = (data.shuffled(1).unwrap(), data.shuffled(1).unwrap());
    assert_eq!(values(&a.x), values(&b.x));
    assert_ne!(values(&a.x), values(&data.shuffled(2).unwrap().x));
    assert_eq!(a.counts(), data.counts());
    let own = data.labels.unwrap();
    assert!(values(&a.x).iter().zip(a.labels.unwrap()).all(|(&v, label)| own[v as usize] == label));
}

#[test]
fn kinds_are_converted_by_one_rule_where_no_value_changes() {
    let new = |x: Tensor| Dataset::new("own", x.view([-1, 1]));
    let floats = Tensor::from_slice(&[0.5_f64, 1.0, -2.0]);
    for kind in [Kind::Half, Kind::BFloat16, Kind::Float] {
        let data = new(floats.to_kind(kind)).unwrap();
        assert_eq!((data.x.kind(), values(&data.x)), (Kind::Float, vec![0.5, 1.0, -2.0]));
    }
    assert_eq!(new(floats.shallow_clone()).unwrap().x.kind(), Kind::Double);
    for kind in [Kind::Uint8, Kind::Int8, Kind::Int16, Kind::Int, Kind::Int64] {
        let data = new(Tensor::from_slice(&[0_i64, 1, 127]).to_kind(kind)).unwrap();
        assert_eq!((data.x.kind(), values(&data.x)), (Kind::Float, vec![0.0, 1.0, 127.0]));
    }
    assert_eq!(values(&new(Tensor::from_slice(&[true, false])).unwrap().x), [1.0, 0.0]);
    let large = |v: i64| new(Tensor::from_slice(&[0, v]));
    assert_eq!(large(-(1 << 24)).unwrap().x.kind(), Kind::Float);
    let data = large((1 << 24) + 1).unwrap();
    assert_eq!((data.x.kind(), values(&data.x)[1]), (Kind::Double, 16_777_217.0));
    for v in [(1 << 53) + 1, i64::MIN] {
        let expected = format!("x = {v}: expected integers of at most 2^53, which a Double holds exactly");
        assert_eq!(message(large(v)), expected);
    }
    let e = message(new(floats.to_kind(Kind::ComplexDouble)));
    assert_eq!(e, "kind = ComplexDouble: expected real numbers: floats, integers or truth values");
}

#[test]
fn display_says_size_classes_and_notes() {
    assert_eq!(small().to_string(), "small: 5 examples of 2 numbers; classes: 3 2, 7 3");
}

#[test]
fn scale_maps_the_declared_range_exactly_at_its_ends_and_leaves_the_original() {
    let bytes: Vec<f32> = (0..=255).map(|b| b as f32).collect();
    let data = Dataset::new("bytes", Tensor::from_slice(&bytes).view([256, 1])).unwrap();
    assert_eq!(message(data.scale(0.0, 1.0)), "range = none: expected bytes with a declared range");
    let data = data.with_range(0.0, 255.0).unwrap();
    for (lo, hi) in [(0.0, 1.0), (-1.0, 1.0), (-3.0, 5.0)] {
        let scaled = data.scale(lo, hi).unwrap();
        let v = values(&scaled.x);
        assert_eq!((v[0], v[255], scaled.range), (lo, hi, Some((lo, hi))));
        let back = values(&scaled.scale(0.0, 255.0).unwrap().x);
        assert!(back.iter().zip(&bytes).all(|(a, b)| (a - f64::from(*b)).abs() < 1e-4));
    }
    assert_eq!(values(&data.x)[255], 255.0);
    assert_eq!(message(data.scale(1.0, 1.0)), "scale = [1, 1]: expected finite ends, the first below the second");
    assert_eq!(
        message(data.with_range(0.0, 99.5)),
        "range = [0, 99.5]: expected an interval that holds [0, 255], the values of bytes"
    );
}

#[test]
fn kinds_shapes_and_labels_are_checked() {
    let data = small();
    assert_eq!(data.with_kind(Kind::Float).unwrap().x.kind(), Kind::Float);
    assert_eq!(data.x.kind(), Kind::Double);
    assert_eq!(message(data.with_kind(Kind::Int64)), "kind = Int64: expected Float or Double");
    assert_eq!(data.with_shape(&[1, 2]).unwrap().shape, [1, 2]);
    let product = "expected positive sides with product 2, the width of small";
    assert_eq!(message(data.with_shape(&[3])), format!("shape has shape [3]: {product}"));
    assert_eq!(message(data.with_shape(&[-1, -2])), format!("shape has shape [-1, -2]: {product}"));
    assert_eq!(message(data.with_shape(&[i64::MAX, 4])), format!("shape has shape [{}, 4]: {product}", i64::MAX));
    assert_eq!(
        message(data.with_labels(vec![1])),
        "labels has shape [1]: expected [5], one label per example of small"
    );
    let new = |x: Tensor| message(Dataset::new("own", x));
    assert_eq!(new(Tensor::from_slice(&[1.0])), "x has shape [1]: expected [n, d] with n, d ≥ 1");
    assert_eq!(
        new(Tensor::zeros([0, 3], (Kind::Float, jarzynski::tch::Device::Cpu))),
        "x has shape [0, 3]: expected [n, d] with n, d ≥ 1"
    );
    let nan = Tensor::from_slice(&[0.0, 1.0, 2.0, f64::NAN]).view([2, 2]);
    assert_eq!(new(nan), "x is not finite at row 1, column 1");
}

#[test]
fn grey_values_become_bits_by_three_choices_with_names() {
    let x = Tensor::from_slice(&[0.0, 2.0, 8.0, 9.0, 14.0, 16.0]).view([1, 6]).repeat([20_000, 1]);
    let data = Dataset::new("grey", x.shallow_clone()).unwrap().with_range(0.0, 16.0).unwrap();
    let first = |d: &Dataset| values(&d.x.narrow(0, 0, 1));
    let half = data.binarise(Binarisation::Threshold(0.5)).unwrap();
    assert_eq!(first(&half), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    assert_eq!(
        (half.range, half.notes.clone()),
        (Some((0.0, 1.0)), vec!["binarised: T (above 0.5 of the range)".into()])
    );
    assert_eq!(first(&data.binarise(Binarisation::Threshold(0.0)).unwrap()), [0.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    let grey = data.binarise(Binarisation::EveryVisit).unwrap();
    assert_eq!(first(&grey), [0.0, 0.125, 0.5, 0.5625, 0.875, 1.0]);
    let sampled = |seed| data.binarise(Binarisation::Sampled { seed }).unwrap();
    assert!(sampled(1).x.equal(&sampled(1).x) && !sampled(1).x.equal(&sampled(2).x));
    assert_eq!(sampled(1).notes, ["binarised: F (sampled once, seed 1)"]);
    let share = |d: &Dataset| values(&d.x.mean_dim(0, false, Kind::Double));
    let z = |share: Vec<f64>| {
        let of = |(s, p): (f64, f64)| ((s - p) / (p * (1.0 - p) / 20_000.0).sqrt().max(1e-12)).abs();
        share.into_iter().zip(first(&grey)).map(of).fold(0.0, f64::max)
    };
    assert!(z(share(&sampled(1))) < 5.0);
    assert!(z(share(&half)) > 5.0, "the twin");
    let letters = [Binarisation::Threshold(0.5), Binarisation::EveryVisit, Binarisation::Sampled { seed: 0 }];
    assert_eq!(letters.map(Binarisation::letter), ["T", "S", "F"]);
    for bad in [1.0, -0.1, f64::NAN] {
        assert!(message(data.binarise(Binarisation::Threshold(bad))).starts_with(&format!("threshold = {bad}")));
    }
    let bare = Dataset::new("bare", x).unwrap();
    assert!(message(bare.binarise(Binarisation::EveryVisit)).contains("declared range"));
}

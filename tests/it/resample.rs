//! Check resampling and random numbers: unbiased offspring, exact edges, goodness of fit, frozen values.

use crate::common::{FAR, z_of};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::{Rng, Scheme};

const ALL: [Scheme; 4] = [Scheme::Systematic, Scheme::Stratified, Scheme::Residual, Scheme::Multinomial];

fn counts(ancestors: &[i64], n: usize) -> Vec<f64> {
    let mut c = vec![0.0; n];
    ancestors.iter().for_each(|&a| c[a as usize] += 1.0);
    c
}

fn random_weights(n: usize, rng: &mut Rng) -> Vec<f64> {
    let w: Vec<f64> = rng.uniforms(n).iter().map(|u| (-3.0 * u).exp() * -(1.0 - u).ln()).collect();
    let total: f64 = w.iter().sum();
    w.iter().map(|v| v / total).collect()
}

/// Mean offspring per walker and its standard error over replicates.
fn offspring(w: &[f64], replicates: usize, mut draw: impl FnMut(&[f64]) -> Vec<i64>) -> Vec<(f64, f64)> {
    let n = w.len();
    let (mut one, mut two) = (vec![0.0; n], vec![0.0; n]);
    for _ in 0..replicates {
        for (i, c) in counts(&draw(w), n).into_iter().enumerate() {
            one[i] += c;
            two[i] += c * c;
        }
    }
    let r = replicates as f64;
    one.iter().zip(two).map(|(s, t)| (s / r, ((t / r - (s / r).powi(2)).max(0.0) / r).sqrt())).collect()
}

/// The largest |mean − N w_i| in standard errors.
fn bias(w: &[f64], replicates: usize, draw: impl FnMut(&[f64]) -> Vec<i64>) -> f64 {
    let n = w.len() as f64;
    let z = |(m, w): ((f64, f64), &f64)| z_of(&m, n * w).abs();
    offspring(w, replicates, draw).into_iter().zip(w).map(z).fold(0.0, f64::max)
}

#[test]
fn every_scheme_is_unbiased() {
    for (case, n) in [(0, 1), (1, 2), (2, 7), (3, 16), (4, 33)] {
        let w = random_weights(n, &mut Rng::new(case));
        for scheme in ALL {
            let mut rng = Rng::new(100 + case);
            let z = bias(&w, 20_000, |w| scheme.ancestors(w, &mut rng));
            assert!(z < FAR, "{scheme:?}, N = {n}: z = {z}");
        }
    }
}

#[test]
fn biased_twins_are_rejected() {
    let w = random_weights(16, &mut Rng::new(3));
    let multinomial = |rng: &mut Rng, find: &dyn Fn(&[f64], f64) -> usize| -> Vec<i64> {
        let cumulated: Vec<f64> = w.iter().scan(0.0, |s, w| Some(std::mem::replace(s, *s + w))).collect();
        rng.uniforms(16).iter().map(|u| find(&cumulated, *u) as i64).collect()
    };
    // `cumulated[i]` is the weight before walker i: the right index is the last that is not above u.
    let right = |c: &[f64], u: f64| c.iter().rposition(|v| *v <= u).unwrap_or(0);
    let off_by_one = |c: &[f64], u: f64| c.iter().position(|v| *v > u).unwrap_or(c.len() - 1);
    let mut rng = Rng::new(7);
    assert!(bias(&w, 5_000, |_| multinomial(&mut rng, &right)) < FAR);
    assert!(bias(&w, 5_000, |_| multinomial(&mut rng, &off_by_one)) > FAR);
    // A comb without its random shift.
    let comb = |w: &[f64]| {
        let mut i = 0;
        let mut c = w[0];
        (0..w.len())
            .map(|k| {
                while (k as f64 + 0.5) / w.len() as f64 >= c && i + 1 < w.len() {
                    i += 1;
                    c += w[i];
                }
                i as i64
            })
            .collect()
    };
    assert!(bias(&w, 5_000, comb) > FAR);
    // Residual resampling whose remainder is drawn from w itself.
    let residual = |w: &[f64]| {
        let n = w.len() as f64;
        let mut out: Vec<i64> =
            w.iter().enumerate().flat_map(|(i, w)| std::iter::repeat_n(i as i64, (w * n) as usize)).collect();
        let missing = w.len() - out.len();
        out.extend(Scheme::Multinomial.ancestors(w, &mut rng).iter().rev().take(missing));
        out
    };
    assert!(bias(&w, 5_000, residual) > FAR);
}

#[test]
fn systematic_counts_are_floor_or_ceiling() {
    let mut rng = Rng::new(11);
    for case in 0..500 {
        let w = random_weights(1 + case % 60, &mut Rng::new(case as u64));
        let n = w.len();
        for (c, w) in counts(&Scheme::Systematic.ancestors(&w, &mut rng), n).iter().zip(&w) {
            let share = n as f64 * w;
            assert!(*c == share.floor() || *c == share.ceil(), "{c} copies for N w = {share}");
        }
        for (c, w) in counts(&Scheme::Residual.ancestors(&w, &mut rng), n).iter().zip(&w) {
            assert!(*c >= (n as f64 * w).floor());
        }
        // Each interval of the cumulated weight meets at most two more strata than it has whole ones.
        for (c, w) in counts(&Scheme::Stratified.ancestors(&w, &mut rng), n).iter().zip(&w) {
            assert!((c - n as f64 * w).abs() < 2.0);
        }
    }
}

#[test]
fn whole_shares_are_met_exactly() {
    let mut rng = Rng::new(13);
    for copies in [
        vec![1; 9],
        vec![0, 3, 0, 2, 1, 0],
        vec![7, 0, 0, 0, 0, 0, 0],
        vec![0, 0, 0, 4],
        vec![0, 5, 0, 5, 0, 0, 1, 3, 0, 0, 0, 0, 0, 0],
    ] {
        let n: usize = copies.iter().sum();
        assert_eq!(n, copies.len());
        let w: Vec<f64> = copies.iter().map(|c| *c as f64 / n as f64).collect();
        let expected: Vec<f64> = copies.iter().map(|c| *c as f64).collect();
        for scheme in [Scheme::Systematic, Scheme::Stratified, Scheme::Residual] {
            for _ in 0..200 {
                assert_eq!(counts(&scheme.ancestors(&w, &mut rng), n), expected, "{scheme:?}");
            }
        }
    }
}

#[test]
fn degenerate_weights_are_safe() {
    let mut rng = Rng::new(17);
    for scheme in ALL {
        for n in [1, 2, 5, 1000] {
            for at in [0, n / 2, n - 1] {
                let mut w = vec![0.0; n];
                w[at] = 1.0;
                assert_eq!(scheme.ancestors(&w, &mut rng), vec![at as i64; n], "{scheme:?}");
                // Rounding has left the sum short or long by some units in the last place.
                for total in [1.0 - 4.0 * f64::EPSILON, 1.0 + 4.0 * f64::EPSILON] {
                    w[at] = total;
                    assert_eq!(scheme.ancestors(&w, &mut rng), vec![at as i64; n], "{scheme:?}");
                }
            }
        }
        // Walkers without weight never have offspring, wherever they stand; ancestors are ascending and N of them.
        for case in 0..300 {
            let mut w = random_weights(40, &mut Rng::new(case));
            w.iter_mut().enumerate().for_each(|(i, w)| *w *= f64::from((i as u64 * 7 + case).is_multiple_of(3)));
            let total: f64 = w.iter().sum();
            w.iter_mut().for_each(|w| *w /= total);
            let a = scheme.ancestors(&w, &mut rng);
            assert_eq!(a.len(), 40);
            assert!(a.is_sorted() && a.iter().all(|&i| w[i as usize] > 0.0), "{scheme:?}");
        }
        assert!(scheme.ancestors(&[], &mut rng).is_empty());
    }
}

#[test]
fn no_scheme_scatters_more_than_the_multinomial() {
    // Douc, Cappé and Moulines (2005): stratified and residual resampling never have more variance. Σ (count − N w)² has
    // the mean Σ N w (1 − w) under the multinomial.
    let w = random_weights(16, &mut Rng::new(3));
    let exact: f64 = w.iter().map(|w| 16.0 * w * (1.0 - w)).sum();
    for scheme in ALL {
        let mut rng = Rng::new(19);
        let squares: Vec<f64> = (0..20_000)
            .map(|_| {
                let c = counts(&scheme.ancestors(&w, &mut rng), 16);
                c.iter().zip(&w).map(|(c, w)| (c - 16.0 * w).powi(2)).sum()
            })
            .collect();
        let z = z_of(&squares, exact);
        let right = if scheme == Scheme::Multinomial { z.abs() < FAR } else { z < -FAR };
        assert!(right, "{scheme:?}: z = {z}");
    }
}

#[test]
fn ancestors_have_frozen_values() {
    let w = [0.05, 0.3, 0.0, 0.25, 0.1, 0.2, 0.03, 0.07];
    let drawn: Vec<Vec<i64>> = ALL.iter().map(|s| s.ancestors(&w, &mut Rng::new(0))).collect();
    let systematic = [1, 1, 1, 3, 3, 5, 5, 7];
    let stratified = [1, 1, 1, 3, 3, 4, 5, 7];
    let residual = [0, 0, 1, 1, 3, 3, 5, 5];
    let multinomial = [0, 0, 1, 1, 3, 4, 5, 7];
    assert_eq!(drawn, [systematic, stratified, residual, multinomial]);
}

// Random numbers.

fn values(t: &Tensor) -> Vec<f64> {
    Vec::try_from(t.to_kind(Kind::Double).view(-1)).unwrap()
}

fn normals(rng: &mut Rng, n: i64, kind: Kind) -> Vec<f64> {
    values(&rng.normal(&[n], kind, Device::Cpu))
}

#[test]
fn random_numbers_have_frozen_values() {
    let mut rng = Rng::new(0);
    // Normals need logarithms and exponentials now and then, but not these: the bits are the same on every machine.
    let normal = normals(&mut rng, 4, Kind::Double);
    assert_eq!(normal, [-0.4159779018753833, -1.4082070055560074, 0.8057396799096002, 1.026993240225738]);
    let single = normals(&mut Rng::new(0), 4, Kind::Float);
    assert_eq!(single, normal.iter().map(|x| *x as f32 as f64).collect::<Vec<_>>());
    let uniform = values(&rng.uniform_tensor(&[3], Kind::Double, Device::Cpu));
    assert_eq!(uniform, [0.4601574453334558, 0.4144954351803478, 0.31501113197203734]);
    assert_eq!(rng.uniform(), 0.46518392485351423);
    assert_eq!(rng.uniforms(2), [0.31776489477351355, 0.027067140543754586]);
    assert_eq!(rng.permutation(8), [7, 6, 2, 3, 5, 1, 0, 4]);
    assert_eq!(rng.indices(100, 5), [45, 0, 47, 86, 14]);
    assert_eq!(rng.seed(), 17758474638856654996);
    assert_eq!(rng.split(0).uniform(), 0.8341144835902333);
    assert_eq!(Rng::new(0).split(1).split(2).uniform(), 0.11723596449479146);
    // Blocks of 8192 have streams of their own, whatever the length of the tensor.
    let long = normals(&mut Rng::new(0), 40_000, Kind::Double);
    assert_eq!(long[..4], normal);
    assert_eq!(long[16384..16386], [0.6203799057109962, -1.4300775211939183]);
    assert_eq!(normals(&mut Rng::new(0), 16_386, Kind::Double)[..], long[..16_386]);
}

/// √n·sup|F_n − F|, for values already mapped to (0, 1) by the distribution function.
fn kolmogorov(mut u: Vec<f64>) -> f64 {
    u.sort_by(f64::total_cmp);
    let n = u.len() as f64;
    let gap = |(i, u): (usize, &f64)| (u - i as f64 / n).max((i + 1) as f64 / n - u);
    n.sqrt() * u.iter().enumerate().map(gap).fold(0.0, f64::max)
}

/// P(√n D > c) ≈ 2e^{−2c²} is that of |z| > 5: 5.7e-7.
const KS: f64 = 2.745;

/// z-scores of mean, variance, third and fourth moment, from the known moments of N(0, 1): 1, 2, 15 and 96 over n.
fn moment_scores(x: &[f64]) -> [f64; 4] {
    let n = x.len() as f64;
    let moment = |p: i32| x.iter().map(|x| x.powi(p)).sum::<f64>() / n;
    [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)]
        .map(|(p, exact, variance): (i32, f64, f64)| (moment(p) - exact) / (variance / n).sqrt())
}

fn distribution_function(x: &[f64]) -> Vec<f64> {
    values(&((Tensor::from_slice(x) * 0.5f64.sqrt()).erf() * 0.5 + 0.5))
}

fn correlation_score(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / (a.len() as f64).sqrt()
}

#[test]
fn normals_are_normal() {
    for (kind, seed) in [(Kind::Double, 0), (Kind::Double, 1), (Kind::Float, 2)] {
        let x = normals(&mut Rng::new(seed), 1 << 20, kind);
        let scores = moment_scores(&x);
        assert!(scores.iter().all(|z| z.abs() < FAR), "{kind:?}: {scores:?}");
        let d = kolmogorov(distribution_function(&x));
        assert!(d < KS, "{kind:?}: {d}");
        // Tails: counts beyond 4 are binomial with the exact mass.
        let mass = 2.0 * 3.167124183311998e-5;
        let (n, far) = (x.len() as f64, x.iter().filter(|x| x.abs() > 4.0).count() as f64);
        assert!(z_of(&(far, (n * mass).sqrt()), n * mass).abs() < FAR, "{far} beyond 4, {} expected", n * mass);
        for lag in [1, 2, 8191, 8192, 8193, 16384] {
            let z = correlation_score(&x[lag..], &x[..x.len() - lag]);
            assert!(z.abs() < FAR, "lag {lag}: {z}");
        }
    }
}

#[test]
fn wrong_normals_are_rejected() {
    // The sum of twelve uniforms has the right mean, variance and skewness; its kurtosis is 2.9.
    let u = values(&Rng::new(5).uniform_tensor(&[12, 1 << 20], Kind::Double, Device::Cpu).sum_dim_intlist(
        0,
        false,
        Kind::Double,
    ));
    let x: Vec<f64> = u.iter().map(|u| u - 6.0).collect();
    let scores = moment_scores(&x);
    assert!(scores[..3].iter().all(|z| z.abs() < FAR) && scores[3] < -FAR, "{scores:?}");
    // 2 % too wide.
    let x: Vec<f64> = normals(&mut Rng::new(0), 1 << 20, Kind::Double).iter().map(|x| x * 1.02).collect();
    assert!(moment_scores(&x)[1] > FAR && kolmogorov(distribution_function(&x)) > KS);
    // The same block again and again.
    let x = normals(&mut Rng::new(0), 8192, Kind::Double).repeat(4);
    assert!(correlation_score(&x[8192..], &x[..x.len() - 8192]) > FAR);
}

#[test]
fn uniforms_and_permutations_are_uniform() {
    let mut rng = Rng::new(6);
    assert!(kolmogorov(rng.uniforms(100_000)) < KS);
    assert!(kolmogorov(values(&rng.uniform_tensor(&[100_000], Kind::Double, Device::Cpu))) < KS);
    // One number from each draw, from each seed, from each label: the counters must be as good as the streams.
    assert!(kolmogorov((0..50_000).map(|_| rng.uniform()).collect()) < KS);
    assert!(kolmogorov((0..50_000).map(|s| Rng::new(s).uniform()).collect()) < KS);
    assert!(kolmogorov((0..50_000).map(|s| rng.split(s).uniform()).collect()) < KS);
    let replicates = 48_000;
    let mut seen = std::collections::HashMap::new();
    for _ in 0..replicates {
        *seen.entry(rng.permutation(4)).or_insert(0.0) += 1.0;
    }
    assert_eq!(seen.len(), 24);
    let n = replicates as f64;
    let cell = |count: f64, p: f64| z_of(&(count, (n * p * (1.0 - p)).sqrt()), n * p);
    assert!(seen.values().all(|c| cell(*c, 1.0 / 24.0).abs() < FAR), "{seen:?}");
    let drawn = counts(&rng.indices(7, replicates), 7);
    assert!(drawn.iter().all(|c| cell(*c, 1.0 / 7.0).abs() < FAR), "{drawn:?}");
}

#[test]
fn splits_are_independent_and_leave_the_parent_alone() {
    const N: i64 = 200_000;
    let parent = Rng::new(9);
    let mut sources = vec![parent.clone(), Rng::new(10), parent.split(0).split(1), parent.split(1).split(0)];
    sources.extend((0..4).map(|label| parent.split(label)));
    assert_eq!(parent, Rng::new(9));
    let drawn: Vec<Vec<f64>> = sources.iter_mut().map(|r| normals(r, N, Kind::Double)).collect();
    for (i, a) in drawn.iter().enumerate() {
        for (j, b) in drawn.iter().enumerate().skip(i + 1) {
            let z = correlation_score(a, b);
            assert!(z.abs() < FAR, "sources {i} and {j}: {z}");
            // The same numbers elsewhere would not show as a correlation: no value occurs in both.
            let mine: std::collections::HashSet<u64> = a.iter().map(|x| x.to_bits()).collect();
            let shared = b.iter().filter(|x| mine.contains(&x.to_bits())).count();
            // 2·10⁵ against 2·10⁵ normals of 53 random bits: less than one chance meeting in 10⁴ pairs.
            assert!(shared < 3, "sources {i} and {j} share {shared} numbers");
        }
    }
    // Same label, same stream, whatever the parent drew in between from its clone.
    let mut used = parent.clone();
    used.uniforms(10);
    assert_eq!(parent.split(3).uniform(), used.split(3).uniform());
    // Successive draws of one source are as independent as different sources.
    let mut rng = Rng::new(9);
    let (a, b) = (normals(&mut rng, N, Kind::Double), normals(&mut rng, N, Kind::Double));
    assert!(correlation_score(&a, &b).abs() < FAR);
}

#[test]
fn a_saved_generator_resumes() {
    let mut rng = Rng::new(4);
    rng.uniforms(3);
    let text = serde_json::to_string(&rng).unwrap();
    let mut copy: Rng = serde_json::from_str(&text).unwrap();
    assert!(rng.normal(&[100], Kind::Float, Device::Cpu).equal(&copy.normal(&[100], Kind::Float, Device::Cpu)));
    assert_eq!(rng.permutation(10), copy.permutation(10));
}

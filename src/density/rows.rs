//! Take rows of data as a model needs them: checked, converted to its kind, moved to its device; say how far they lie.

use crate::density::{Base, Model};
use crate::error::{Error, Result, guard, no_grad};
use crate::numeric::Rng;
use tch::{Device, Kind, Tensor};

/// The kind in which something made from data computes: f64 where the data are f64, else f32.
pub(crate) fn kind_for(data: &Tensor) -> Kind {
    if data.kind() == Kind::Double { Kind::Double } else { Kind::Float }
}

/// Rows `[n, d]` of integers, bool or floats of any precision as rows of `kind` on `device`.
///
/// # Errors
/// Another shape, a kind that holds no real numbers, a number that is not finite (in `kind`); each names `name`.
pub(crate) fn rows_as(name: &'static str, x: &Tensor, d: i64, (kind, device): (Kind, Device)) -> Result<Tensor> {
    let expected = || format!("[n, {d}] with n ≥ 1");
    if !x.defined() {
        return Err(Error::Shape { name, got: vec![], expected: expected() });
    }
    if !real(x.kind()) || x.is_sparse() {
        let value = format!("{}{:?}", if x.is_sparse() { "sparse " } else { "" }, x.kind());
        return Err(Error::param(name, value, "a dense tensor of integers, bool or floats"));
    }
    let got = x.size();
    if got.len() != 2 || got[1] != d || got[0] == 0 {
        return Err(Error::Shape { name, got, expected: expected() });
    }
    let x = guard(|| Ok(x.detach().to_device(device).to_kind(kind)))?;
    match first_row(&x, |rows| rows.isfinite().logical_not()) {
        Some(row) => Err(Error::NonFinite { what: name, place: format!("in row {row}") }),
        None => Ok(x),
    }
}

/// [`rows_as`] for `model`, which may refuse numbers outside its support.
///
/// # Errors
/// As [`rows_as`]; what [`Model::check_data`] refuses.
pub(crate) fn rows_for<M: Model + ?Sized>(model: &M, name: &'static str, x: &Tensor) -> Result<Tensor> {
    let x = rows_as(name, x, model.dim(), model.options())?;
    guard(|| model.check_data(&x))?;
    Ok(x)
}

fn real(kind: Kind) -> bool {
    use Kind::{BFloat16, Bool, Double, Float, Half, Int, Int8, Int16, Int64, Uint8};
    matches!(kind, Uint8 | Int8 | Int16 | Int | Int64 | Half | Float | Double | Bool | BFloat16)
}

/// Checks that `x` is `[n, d]` with finite entries, of floats, for those who compute with it as it is.
pub(crate) fn check_rows(name: &'static str, x: &Tensor, d: i64) -> Result<()> {
    if x.defined() && !x.is_floating_point() {
        return Err(Error::param(name, format!("{:?}", x.kind()), "a floating-point tensor"));
    }
    rows_as(name, x, d, (kind_for(x), x.device())).map(|_| ())
}

/// Rows for an energy: of width d, of f32 or f64 as they are, of any other kind converted to `kind`.
///
/// # Panics
/// Rows of another width: one column would be compared with each of theirs. An energy cannot return an error; what libtorch
/// finds wrong in one ends in a panic too, which a run reports as its cause.
pub(crate) fn floats(x: &Tensor, d: i64, kind: Kind) -> Tensor {
    let size = x.size();
    assert!(size.last() == Some(&d), "x has shape {size:?}: expected [n, {d}]");
    if matches!(x.kind(), Kind::Float | Kind::Double) { x.shallow_clone() } else { x.to_kind(kind) }
}

/// The first row of `x` with a number that `bad` marks; looks at a few rows at a time, since data may be as large as memory
/// allows.
pub(crate) fn first_row(x: &Tensor, bad: impl Fn(&Tensor) -> Tensor) -> Option<i64> {
    const ROWS: i64 = 512;
    x.split(ROWS, 0).iter().enumerate().find_map(|(block, rows)| {
        let bad = bad(rows).any_dim(1, false).nonzero();
        (bad.size()[0] > 0).then(|| block as i64 * ROWS + bad.int64_value(&[0, 0]))
    })
}

/// How far rows `x` `[n, d]` lie from a base, in its standard deviations: √(mean |x − m|² / Σ σ_j²) with the base's mean m and
/// standard deviations σ_j, estimated from 1,024 draws; near 1 for rows that are distributed as the base. NaN where the base
/// cannot be sampled.
pub(crate) fn distance_from(base: &dyn Base, x: &Tensor) -> f64 {
    let d = x.size()[1];
    let measure = || {
        let draws = base.sample(1_024, &mut Rng::new(0x646973).on_host());
        // walkers of a joint machine carry hidden units behind the visible ones
        let draws = draws.narrow(1, 0, d).to_kind(Kind::Double);
        let mean = draws.mean_dim(0, true, Kind::Double);
        let away = |rows: &Tensor| (rows.to_kind(Kind::Double) - &mean).square().sum(Kind::Double).double_value(&[]);
        let (n, count) = (x.size()[0] as f64, draws.size()[0] as f64);
        let spread = away(&draws) / (count - 1.0);
        let data: f64 = x.split(4_096, 0).iter().map(away).sum::<f64>() / n;
        Ok((data / spread).sqrt())
    };
    guard(|| no_grad(measure)).unwrap_or(f64::NAN)
}

//! Define what a kernel may ask of an energy (U, ∇U) and what training may ask of a model (θ, an exact start).

use crate::checkpoint::Checkpoint;
use crate::{Error, Point, Result, Rng};
use tch::{Device, Kind, Tensor, nn};

/// An energy U, batched: ρ(x) = e^{−U(x)} / Z, eq. (1).
///
/// The one required method is [`energy`](Energy::energy); the gradient comes from one autograd pass unless a closed
/// form overrides [`evaluate`](Energy::evaluate).
///
/// ```
/// use jarzynski::{Energy, tch::{Kind, Tensor}};
/// struct Quartic;
/// impl Energy for Quartic {
///     fn energy(&self, x: &Tensor) -> Tensor {
///         x.pow_tensor_scalar(4).sum_dim_intlist(-1, false, Kind::Double)
///     }
/// }
/// let at = Quartic.evaluate(&Tensor::from_slice(&[1.0, 2.0]).view([2, 1]));
/// assert_eq!(Vec::<f64>::try_from(at.grad().view(-1)).unwrap(), [4.0, 32.0]);
/// ```
pub trait Energy {
    /// U at each row: x `[n, d]` → `[n]`, differentiable in x (and in θ for a model).
    fn energy(&self, x: &Tensor) -> Tensor;

    /// U and ∇U at x, kept together: one forward and one backward pass over n rows.
    fn evaluate(&self, x: &Tensor) -> Point {
        Point::autograd(self, x)
    }
}

impl<E: Energy + ?Sized> Energy for &E {
    fn energy(&self, x: &Tensor) -> Tensor {
        (**self).energy(x)
    }
    fn evaluate(&self, x: &Tensor) -> Point {
        (**self).evaluate(x)
    }
}

impl<E: Energy + ?Sized> Energy for Box<E> {
    fn energy(&self, x: &Tensor) -> Tensor {
        (**self).energy(x)
    }
    fn evaluate(&self, x: &Tensor) -> Point {
        (**self).evaluate(x)
    }
}

/// A law that can be sampled exactly and whose log Z is known: where walkers start with A_0 = 0.
pub trait Base: Energy {
    /// n exact, independent draws, `[n, d]`.
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor;

    /// As [`sample`](Base::sample), with less variance where the law allows (modes in proportion); unbiased too.
    fn sample_stratified(&self, n: usize, rng: &mut Rng) -> Tensor {
        self.sample(n, rng)
    }

    /// log ∫ e^{−U}, nats.
    fn log_z(&self) -> f64;
}

/// A trainable energy U_θ.
///
/// Parameters live in a `VarStore`, which fixes their device and kind, saves them as safetensors and feeds the
/// optimisers of tch.
pub trait Model: Energy {
    /// The parameters θ.
    fn vars(&self) -> &nn::VarStore;

    /// The same, for loading and moving.
    fn vars_mut(&mut self) -> &mut nn::VarStore;

    /// The exactly sampled law from which walkers start: ρ_{θ_0} itself where the model can (a mixture, a net whose
    /// last layer is zero), else the nearest one; walkers carry A_0 = U_base − U_θ, so that both are exact.
    fn base(&self) -> Result<Box<dyn Base>>;

    /// Width d of a row.
    fn dim(&self) -> i64;

    /// Σ_i w_i ∂_θ U(x_i), one tensor for each trainable parameter in the store's order. w `[n]`, any sign.
    ///
    /// The default spends the graph kept in `at` (no second forward pass) in one backward pass.
    fn param_grad(&self, at: &mut Point, w: &Tensor) -> Vec<Tensor> {
        let params = self.vars().trainable_variables();
        let graph = at.take_graph().unwrap_or_else(|| tch::with_grad(|| self.energy(&at.x)));
        let loss = tch::with_grad(|| graph.dot(&w.to_kind(graph.kind())));
        let grads = Tensor::run_backward(&[loss], &params, false, false);
        grads.into_iter().zip(&params).map(|(g, p)| if g.defined() { g } else { p.zeros_like() }).collect()
    }

    /// Rows of data as walkers are: x itself unless walkers carry more, such as hidden units drawn given x. For CD.
    fn lift(&self, x: &Tensor, _rng: &mut Rng) -> Tensor {
        x.shallow_clone()
    }

    /// Errors: data that this model has no density for, such as other numbers than 0 and 1. Their width and finiteness are
    /// checked before.
    fn check_data(&self, _x: &Tensor) -> Result<()> {
        Ok(())
    }

    /// The direction that the optimiser gets for the gradient (4): the gradient itself unless a model knows a better
    /// parametrisation.
    fn precondition(&self, grads: Vec<Tensor>) -> Vec<Tensor> {
        grads
    }

    /// Energies at data x `[n, d]` with what [`param_grad`](Model::param_grad) needs: one forward pass.
    fn observe(&self, x: &Tensor) -> Point {
        Point::energy_only(self, x)
    }

    /// Exact log Z_θ where a closed form exists, nats.
    fn log_z_exact(&self) -> Option<f64> {
        None
    }

    /// Where the parameters are, and of what kind.
    fn options(&self) -> (Kind, Device) {
        let vs = self.vars();
        (vs.trainable_variables().first().map_or(Kind::Float, Tensor::kind), vs.device())
    }

    /// Writes the parameters as safetensors, to a temporary name first. Errors: [`Error::Io`], [`Error::Torch`].
    fn save(&self, path: &std::path::Path) -> Result<()> {
        save_vars(self.vars(), path)
    }

    /// Reads parameters written by [`save`](Model::save); names and shapes must agree.
    fn load(&mut self, path: &std::path::Path) -> Result<()> {
        Ok(self.vars_mut().load(path)?)
    }
}

/// Writes parameters as safetensors, to a temporary name first.
pub(crate) fn save_vars(vs: &nn::VarStore, path: &std::path::Path) -> Result<()> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("model");
    let partial = path.with_file_name(format!(".{name}.part.safetensors"));
    vs.save(&partial)?;
    std::fs::rename(&partial, path).map_err(|e| Error::io(path, e))
}

/// Checks that `x` is `[n, d]` with finite entries.
pub(crate) fn check_rows(name: &'static str, x: &Tensor, d: i64) -> Result<()> {
    let got = x.size();
    if got.len() != 2 || got[1] != d || got[0] == 0 {
        return Err(Error::Shape { name, got, expected: format!("[n, {d}] with n ≥ 1") });
    }
    if !x.is_floating_point() {
        return Err(Error::param(name, format!("{:?}", x.kind()), "a floating-point tensor"));
    }
    match first_row(x, |rows| rows.isfinite().logical_not()) {
        Some(row) => Err(Error::NonFinite { what: name, place: format!("in row {row}") }),
        None => Ok(()),
    }
}

/// The first row of `x` with a number that `bad` marks; looks at a few rows at a time, since data may fill the memory.
pub(crate) fn first_row(x: &Tensor, bad: impl Fn(&Tensor) -> Tensor) -> Option<i64> {
    const ROWS: i64 = 512;
    x.split(ROWS, 0).iter().enumerate().find_map(|(block, rows)| {
        let bad = bad(rows).any_dim(1, false).nonzero();
        (bad.size()[0] > 0).then(|| block as i64 * ROWS + bad.int64_value(&[0, 0]))
    })
}

/// The largest curvature of U among rows x `[n, d]`: the largest eigenvalue in magnitude of each row's Hessian by a power
/// iteration on differences of ∇U, where it is positive. Costs `CURVATURE_PASSES` evaluations.
pub(crate) fn curvature<E: Energy + ?Sized>(u: &E, x: &Tensor) -> f64 {
    let length = |t: &Tensor| t.square().sum_dim_intlist(-1, true, None::<Kind>).sqrt().clamp_min(1e-30);
    let scale = x.square().mean(Kind::Double).double_value(&[]).sqrt().max(1e-3);
    let step = scale * if x.kind() == Kind::Double { 1e-5 } else { 1e-2 };
    let here = u.evaluate(x);
    let mut v = Rng::new(0xc0).normal(&x.size(), x.kind(), x.device());
    let mut largest = f64::NAN;
    for _ in 1..CURVATURE_PASSES {
        v = &v / length(&v);
        let turned = (u.evaluate(&(x + &v * step)).grad() - here.grad()) / step;
        largest = (&v * &turned).sum_dim_intlist(-1, false, Kind::Double).max().double_value(&[]);
        v = turned;
    }
    largest
}

/// Evaluations of [`curvature`].
pub(crate) const CURVATURE_PASSES: usize = 7;

/// Puts all variables of a store into a checkpoint.
pub(crate) fn save_parameters(vs: &nn::VarStore, to: &mut Checkpoint) {
    vs.variables().iter().for_each(|(name, t)| to.put(format!("model.{name}"), t));
}

/// Takes up the parameters that a checkpoint holds.
pub(crate) fn restore_parameters(vs: &nn::VarStore, from: &Checkpoint) -> Result<()> {
    for (name, mut held) in vs.variables() {
        let t = from.get(&format!("model.{name}"))?;
        if t.size() != held.size() {
            let expected = format!("{:?}, as parameter {name} of the model", held.size());
            return Err(Error::Shape { name: "checkpoint", got: t.size(), expected });
        }
        crate::no_grad(|| held.f_copy_(&t))?;
    }
    Ok(())
}

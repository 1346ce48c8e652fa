//! Hold the affine map between data x and the coordinates z in which a Gaussian is N(0, I).

use crate::density::{At, Geometric};
use crate::error::{Error, Result};
use crate::io::{Checkpoint, fingerprint};
use tch::{Device, Kind, Tensor};

/// z = L⁻¹(x − m) and x = m + Lz, L lower triangular with a positive diagonal: N(m, LLᵀ) in x is N(0, I) in z.
///
/// Walkers, data, samples and densities are in x everywhere. z is what a [`Whitened`](crate::kernel::Whitened) kernel moves
/// in and what an [`Mlp`](crate::model::Mlp) with a fitted start takes as input; neither shows it. A density in z is one in x
/// times |det L|; the log Z of the [`Gaussian`](crate::model::Gaussian) holds that factor, and nothing else does.
#[derive(Debug)]
pub struct Whitening {
    mean: Tensor,
    scale: Scale,
}

/// Names in files.
const MEAN: &str = "gaussian.mean";
const FACTOR: &str = "gaussian.factor";

#[derive(Debug)]
enum Scale {
    /// L's diagonal, `[d]`; all else is 0.
    Diagonal(Tensor),
    /// L and L⁻¹, `[d, d]`.
    Lower { l: Tensor, inverse: Tensor },
}

impl Whitening {
    /// Mean m and standard deviations, `[d]` each.
    pub(crate) fn diagonal(mean: Tensor, sigma: Tensor) -> Self {
        Whitening { mean, scale: Scale::Diagonal(sigma) }
    }

    /// Mean m `[d]` and L `[d, d]`, both in f64.
    pub(crate) fn lower(mean: Tensor, l: Tensor) -> Self {
        let unit = Tensor::eye(l.size()[0], (l.kind(), l.device()));
        let inverse = Tensor::linalg_solve_triangular(&l, &unit, false, true, false);
        Whitening { mean, scale: Scale::Lower { l, inverse } }
    }

    /// What a file holds of the map.
    pub(crate) fn tensors(&self) -> [(&'static str, &Tensor); 2] {
        [(MEAN, &self.mean), (FACTOR, self.factor())]
    }

    /// From the [`tensors`](Whitening::tensors) in a file, on the CPU.
    ///
    /// # Errors
    /// A file without a map, shapes that do not fit, numbers that define none.
    pub(crate) fn load(from: &Checkpoint) -> Result<Self> {
        let (mean, factor) = (from.get(MEAN)?, from.get(FACTOR)?);
        let size = mean.size();
        let d = match size[..] {
            [d] if d > 0 && matches!(mean.kind(), Kind::Float | Kind::Double) => d,
            _ => return Err(Error::Shape { name: "saved mean", got: size, expected: "[d] floats, d ≥ 1".into() }),
        };
        let diagonal = match factor.size()[..] {
            [n] if n == d => factor.shallow_clone(),
            [n, m] if n == d && m == d => factor.diagonal(0, 0, 1),
            _ => {
                let expected = format!("[{d}], or [{d}, {d}] and triangular");
                return Err(Error::Shape { name: "saved factor of the covariance", got: factor.size(), expected });
            }
        };
        let finite = bool::try_from((mean.isfinite().all()).logical_and(&factor.isfinite().all()))?;
        let positive = bool::try_from(diagonal.gt(0.0).all())?;
        let lower = factor.dim() == 1 || bool::try_from(factor.triu(1).eq(0.0).all())?;
        if !(finite && positive && lower && factor.kind() == mean.kind()) {
            let expected = "finite floats of the mean's kind, triangular, positive on the diagonal";
            return Err(Error::param("saved factor of the covariance", format!("{:?}", factor.kind()), expected));
        }
        if factor.dim() == 1 {
            return Ok(Whitening::diagonal(mean, factor));
        }
        let kind = mean.kind();
        Whitening::lower(mean.to_kind(Kind::Double), factor.to_kind(Kind::Double)).on(kind, Device::Cpu)
    }

    /// What tells this map from any other.
    pub(crate) fn identity(&self) -> Result<String> {
        Ok(format!("{}, {}", fingerprint(&self.mean)?, fingerprint(self.factor())?))
    }

    /// The same map computed in another kind, on another device.
    ///
    /// # Errors
    /// A kind other than `Float` or `Double`.
    pub fn on(&self, kind: Kind, device: Device) -> Result<Self> {
        if !matches!(kind, Kind::Float | Kind::Double) {
            return Err(Error::param("kind", format!("{kind:?}"), "Kind::Float or Kind::Double"));
        }
        let place = |t: &Tensor| t.to_kind(kind).to_device(device);
        let scale = match &self.scale {
            Scale::Diagonal(sigma) => Scale::Diagonal(place(sigma)),
            Scale::Lower { l, inverse } => Scale::Lower { l: place(l), inverse: place(inverse) },
        };
        Ok(Whitening { mean: place(&self.mean), scale })
    }

    /// The map for rows [x, p]: this one for x, the identity for p of the same width.
    pub(crate) fn beside_identity(&self) -> Self {
        let (d, options) = (self.dim(), (self.mean.kind(), self.mean.device()));
        let mean = Tensor::cat(&[&self.mean, &self.mean.zeros_like()], 0);
        let blocks = |m: &Tensor| Tensor::block_diag(&[m, &Tensor::eye(d, options)]);
        let scale = match &self.scale {
            Scale::Diagonal(sigma) => Scale::Diagonal(Tensor::cat(&[sigma, &sigma.ones_like()], 0)),
            Scale::Lower { l, inverse } => Scale::Lower { l: blocks(l), inverse: blocks(inverse) },
        };
        Whitening { mean, scale }
    }

    /// Dimension d.
    pub fn dim(&self) -> i64 {
        self.mean.size()[0]
    }

    /// m, `[d]`.
    pub fn mean(&self) -> &Tensor {
        &self.mean
    }

    /// L's diagonal `[d]` where it has no other entries, else L `[d, d]`.
    pub fn factor(&self) -> &Tensor {
        match &self.scale {
            Scale::Diagonal(sigma) => sigma,
            Scale::Lower { l, .. } => l,
        }
    }

    /// log det L = Σ_j log L_jj, f64.
    pub fn log_det(&self) -> f64 {
        let diagonal = match &self.scale {
            Scale::Diagonal(sigma) => sigma.shallow_clone(),
            Scale::Lower { l, .. } => l.diagonal(0, 0, 1),
        };
        diagonal.to_kind(Kind::Double).log().sum(Kind::Double).double_value(&[])
    }

    /// z of rows x: `[n, d]` → `[n, d]`, differentiable.
    pub fn whiten(&self, x: &Tensor) -> Tensor {
        let centred = x - &self.mean;
        match &self.scale {
            Scale::Diagonal(sigma) => centred / sigma,
            Scale::Lower { inverse, .. } => product(&centred, &inverse.tr()),
        }
    }

    /// x of rows z: `[n, d]` → `[n, d]`, differentiable.
    pub fn colour(&self, z: &Tensor) -> Tensor {
        match &self.scale {
            Scale::Diagonal(sigma) => z * sigma + &self.mean,
            Scale::Lower { l, .. } => product(z, &l.tr()) + &self.mean,
        }
    }

    /// ∂/∂z of what has the gradient `g` in x: Lᵀg for each row.
    pub(crate) fn gradient_in_z(&self, g: &Tensor) -> Tensor {
        match &self.scale {
            Scale::Diagonal(sigma) => g * sigma,
            Scale::Lower { l, .. } => product(g, l),
        }
    }

    /// ∂/∂x of what has the gradient `g` in z: L⁻ᵀg for each row.
    pub(crate) fn gradient_in_x(&self, g: &Tensor) -> Tensor {
        match &self.scale {
            Scale::Diagonal(sigma) => g / sigma,
            Scale::Lower { inverse, .. } => product(g, inverse),
        }
    }
}

/// rows · m, in the kind of the rows.
fn product(rows: &Tensor, m: &Tensor) -> Tensor {
    rows.matmul(&m.to_kind(rows.kind()))
}

/// What knows coordinates in which it is near N(0, I): a Gaussian, a model whose start is one, a path to it. Kernels wrapped
/// in [`Whitened`](crate::kernel::Whitened) move in these.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say in which coordinates it is near N(0, I)",
    note = "`Gaussian`, `Mlp` and `Cnn` do; a model of your own: `impl Whiten` for it, with the `whitening` of a `Gaussian`"
)]
pub trait Whiten {
    /// The map to these coordinates, of the kind and on the device of the rows.
    fn whitening(&self) -> &Whitening;
}

impl<E: Whiten + ?Sized> Whiten for &E {
    fn whitening(&self) -> &Whitening {
        (**self).whitening()
    }
}

impl<P: Whiten + ?Sized> Whiten for At<'_, P> {
    fn whitening(&self) -> &Whitening {
        self.path.whitening()
    }
}

/// Those of the target, at every t.
impl<B, E: Whiten> Whiten for Geometric<B, E> {
    fn whitening(&self) -> &Whitening {
        self.target.whitening()
    }
}

//! Hold the principal axes of data, and define the paths whose energies are the data's under noise of a falling level.

use crate::density::{At, DataMixture, Differentiable, Path};
use crate::error::{Error, Result, guard, no_grad};
use tch::{Device, Kind, Tensor};

/// Coordinates z = Qᵀ(x − m) along the principal axes of a covariance Q diag(v) Qᵀ: a rotation, which leaves densities as they
/// are. Noise that is isotropic in x is isotropic in z.
#[derive(Debug)]
pub struct Axes {
    mean: Tensor,
    /// Q, one axis per column.
    rotation: Tensor,
    variances: Tensor,
}

impl Axes {
    /// Of rows of `data` `[n, d]`, finite floats, in their kind and on their device; computed in f64.
    ///
    /// # Errors
    /// A decomposition that does not converge.
    pub(crate) fn of(data: &Tensor) -> Result<Self> {
        guard(|| {
            no_grad(|| {
                let (kind, device) = (data.kind(), data.device());
                let wide = data.to_device(Device::Cpu).to_kind(Kind::Double);
                let mean = wide.mean_dim(0, false, Kind::Double);
                let away = &wide - &mean;
                let covariance = away.tr().matmul(&away) / wide.size()[0] as f64;
                let (variances, rotation) = covariance.linalg_eigh("L");
                let place = |t: Tensor| t.contiguous().to_kind(kind).to_device(device);
                Ok(Axes { mean: place(mean), rotation: place(rotation), variances: place(variances.clamp_min(0.0)) })
            })
        })
    }

    /// m, Q and the variances.
    pub(crate) fn tensors(&self) -> [(&'static str, &Tensor); 3] {
        [("axes.mean", &self.mean), ("axes.rotation", &self.rotation), ("axes.variances", &self.variances)]
    }

    /// From what [`tensors`](Axes::tensors) gave.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub(crate) fn from_parts(mean: Tensor, rotation: Tensor, variances: Tensor) -> Result<Self> {
        let d = mean.size();
        let square = rotation.size();
        if d.len() != 1 || variances.size() != d || square != [d[0], d[0]] {
            let expected = format!("[d], [d, d], [d] with d = {d:?}");
            return Err(Error::Shape { name: "principal axes", got: square, expected });
        }
        if !bool::try_from(variances.ge(0.0).all())? {
            let least = variances.min().double_value(&[]);
            return Err(Error::param("variances along the principal axes", least, "numbers ≥ 0"));
        }
        Ok(Axes { mean, rotation, variances })
    }

    /// The same tensors.
    pub(crate) fn shallow_clone(&self) -> Self {
        let [mean, rotation, variances] = self.tensors().map(|(_, t)| t.shallow_clone());
        Axes { mean, rotation, variances }
    }

    /// Width d of a row.
    pub fn dim(&self) -> i64 {
        self.mean.size()[0]
    }

    /// m, `[d]`.
    pub fn mean(&self) -> &Tensor {
        &self.mean
    }

    /// The variances along the axes, rising, `[d]`.
    pub fn variances(&self) -> &Tensor {
        &self.variances
    }

    /// Covariance of the data, Q diag(v) Qᵀ `[d, d]`.
    pub fn covariance(&self) -> Tensor {
        (&self.rotation * &self.variances).matmul(&self.rotation.tr())
    }

    /// z of rows x, `[n, d]` → `[n, d]`.
    pub fn to_axes(&self, x: &Tensor) -> Tensor {
        (x - &self.mean).matmul(&self.rotation)
    }

    /// x of rows z, `[n, d]` → `[n, d]`.
    pub fn from_axes(&self, z: &Tensor) -> Tensor {
        self.turn_back(z) + &self.mean
    }

    /// A gradient in x of one in z.
    pub(crate) fn turn_back(&self, g: &Tensor) -> Tensor {
        g.matmul(&self.rotation.tr())
    }

    /// A gradient in z of one in x.
    pub(crate) fn turn(&self, g: &Tensor) -> Tensor {
        g.matmul(&self.rotation)
    }
}

/// A path whose energy at t is a model of the data with Gaussian noise of standard deviation σ(t), which falls with t:
///
/// ```text
/// U_t(x) = −log ρ_σ(x) + f(t, x),    ρ_σ a Gaussian or a mixture of Gaussians fitted to the data, with that noise
/// ```
///
/// up to a constant of t: what is known in closed form, and what it lacks. A [`Denoise`](crate::kernel::Denoise) kernel pays for
/// f alone.
pub trait NoisePath: Path + Differentiable {
    /// The mixture ρ without noise.
    fn known(&self) -> &DataMixture;

    /// The data's principal axes.
    fn axes(&self) -> &Axes {
        self.known().axes()
    }

    /// Noise level σ(t) > 0, in units of x, falling.
    fn sigma(&self, t: f64) -> f64;
}

impl<P: NoisePath + ?Sized> At<'_, P> {
    /// The variance of the noise at this time.
    pub(crate) fn noise_variance(&self) -> f64 {
        self.path.sigma(self.t).powi(2)
    }

    /// The same as a tensor `[1]` in f64 on the path's device.
    pub(crate) fn noise_tensor(&self) -> Tensor {
        Tensor::from_slice(&[self.noise_variance()]).to_device(self.path.axes().mean().device())
    }
}

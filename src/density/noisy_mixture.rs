//! Start walkers from a data set's mixture of Gaussians under noise of one level.

use crate::density::{Axes, Base, DataMixture, Energy, Evaluation, floats, kind_for, rows_as};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use tch::Tensor;

/// A [`DataMixture`] under noise of one level: normalised.
#[derive(Debug)]
pub(crate) struct NoisyMixture {
    known: DataMixture,
    s: Tensor,
}

impl NoisyMixture {
    /// Under noise of variance s, `[1]` in f64.
    pub(super) fn new(known: DataMixture, s: Tensor) -> Self {
        NoisyMixture { known, s }
    }

    fn along(&self, x: &Tensor) -> Tensor {
        let axes = self.known.axes();
        axes.to_axes(&floats(x, axes.dim(), axes.mean().kind()).to_kind(axes.mean().kind()))
    }
}

impl DataMixture {
    /// A mixture of so many Gaussians fitted to rows of `data` `[n, d]` with Gaussian noise of standard deviation `noise`, as a
    /// base in the data's kind and on their device: exact draws and a normalised density, such as noise-contrastive estimation
    /// takes.
    ///
    /// ```
    /// use jarzynski::{Base, Rng, density::DataMixture, model::Mixture};
    /// # fn main() -> jarzynski::Result<()> {
    /// let data = Mixture::new(&[vec![-8.0], vec![8.0]], &[0.3, 0.7])?.sample(500, &mut Rng::new(1));
    /// let noise = DataMixture::base(&data, 2, 0.1, 0)?;
    /// assert_eq!((noise.log_z(), noise.sample(10, &mut Rng::new(2)).size()), (0.0, vec![10, 1]));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Data that are not `[n, d]` or not finite; a noise that is not positive; no component, or more than there are rows.
    pub fn base(data: &Tensor, components: usize, noise: f64, seed: u64) -> Result<Box<dyn Base>> {
        let d = if data.defined() { data.size().get(1).copied().unwrap_or(0) } else { 0 };
        let data = rows_as("data", data, d, (kind_for(data), data.device()))?;
        if !(noise > 0.0 && noise.is_finite()) {
            return Err(Error::param("noise", noise, "a positive, finite standard deviation"));
        }
        let rows = data.size()[0];
        let count = i64::try_from(components)
            .ok()
            .filter(|c| (1..=rows).contains(c))
            .ok_or_else(|| Error::param("components", components, format!("1 to {rows}, as many as there are rows")))?;
        let found = DataMixture::fit(&data, Axes::of(&data)?, count, d, noise, &mut Rng::new(seed))?;
        Ok(Box::new(found.under_noise(noise)))
    }
}

impl Energy for NoisyMixture {
    fn energy(&self, x: &Tensor) -> Tensor {
        self.known.energy(&self.along(x), &self.s)
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        let known = self.known.at(&self.along(&x.detach()), &self.s);
        Evaluation::new(x.detach(), known.energy, self.known.axes().turn_back(&known.grad))
    }
}

impl Base for NoisyMixture {
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        self.known.axes().from_axes(&self.known.sample(n as i64, &self.s, rng))
    }

    fn log_z(&self) -> f64 {
        0.0
    }
}

//! Give products of double wells and normals: exponentially many modes with a log Z known by one-dimensional quadrature.

use super::{DoubleWell, LOG_2PI, at_least, positive};
use crate::density::{Base, Differentiable, Energy, Evaluation, floats};
use crate::error::{Error, Result};
use crate::numeric::Rng;
use tch::{Device, Kind, Tensor};

/// U(x) = Σ_{wells} u(x_i) + ½ Σ_{others} x_i² with u of [`DoubleWell`]; m wells have 2^m modes.
///
/// log Z = m log ∫ e^{−u} + ½ (d − m) log 2π, the integral by quadrature to rounding; coordinates are independent, so that
/// draws are exact and E x_i^p is [`DoubleWell::moment`].
///
/// ```
/// use jarzynski::{Base, model::targets::ManyWell};
/// let target = ManyWell::pairs(32).unwrap();
/// assert!((target.log_z() - 164.695_67).abs() < 1e-4);   // as published with the target
/// ```
#[derive(Debug)]
pub struct ManyWell {
    well: DoubleWell,
    /// Which coordinates have a well, `[d]`.
    wells: Tensor,
    log_z: f64,
}

impl ManyWell {
    /// d/2 pairs with u(x_{2i}) = x⁴ − 6x² − ½x beside a normal x_{2i+1}: Midgley et al. 2023 (arXiv 2208.01893), after Noé et
    /// al. 2019, with d = 32 in most tables.
    ///
    /// # Errors
    /// d below 2 or odd.
    pub fn pairs(d: i64) -> Result<Self> {
        if at_least("d", d, 2)? % 2 == 1 {
            return Err(Error::param("d", d, "an even number: a well and a normal for each pair"));
        }
        let wells: Vec<bool> = (0..d).map(|i| i % 2 == 0).collect();
        Ok(Self::made(DoubleWell::new([1.0, -6.0, -0.5, 0.0])?, &wells))
    }

    /// `wells` coordinates with u(x) = (x² − δ)²: "MW-54" is 5 wells with δ = 4 (Wu, Köhler, Noé 2020; Berner, Richter, Ullrich
    /// 2024, arXiv 2211.01364).
    ///
    /// # Errors
    /// No wells, δ not positive.
    pub fn separated(wells: i64, delta: f64) -> Result<Self> {
        let wells = at_least("wells", wells, 1)? as usize;
        let well = DoubleWell::new([1.0, -2.0 * positive("delta", delta)?, 0.0, delta * delta])?;
        Ok(Self::made(well, &vec![true; wells]))
    }

    /// With so many normal coordinates after the present ones.
    ///
    /// # Errors
    /// A negative number.
    pub fn with_normals(self, normals: i64) -> Result<Self> {
        let more = vec![false; at_least("normals", normals, 0)? as usize];
        let wells = Vec::<bool>::try_from(&self.wells)?;
        Ok(Self::made(self.well, &[wells, more].concat()))
    }

    fn made(well: DoubleWell, wells: &[bool]) -> Self {
        let each = |is_well: &bool| if *is_well { well.log_z() } else { 0.5 * LOG_2PI };
        ManyWell { well, wells: Tensor::from_slice(wells), log_z: wells.iter().map(each).sum() }
    }

    /// Dimension d.
    pub fn dim(&self) -> i64 {
        self.wells.size()[0]
    }

    /// The factor u of the coordinates that have a well.
    pub fn well(&self) -> &DoubleWell {
        &self.well
    }

    /// Which coordinates have a well, `[d]`, Bool.
    pub fn wells(&self) -> Tensor {
        self.wells.copy()
    }

    /// u or ½x² of each entry, `[n, d]`.
    fn entries(&self, x: &Tensor) -> Tensor {
        let (w, s) = (&self.well, x.square());
        let well = (&s * w.quartic + w.quadratic) * &s + x * w.linear + w.constant;
        well.where_self(&self.wells.to_device(x.device()), &(s * 0.5))
    }
}

impl Differentiable for ManyWell {}

impl Energy for ManyWell {
    fn energy(&self, x: &Tensor) -> Tensor {
        let x = floats(x, self.dim(), Kind::Double);
        self.entries(&x).sum_dim_intlist(-1, false, None::<Kind>)
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        crate::error::no_grad(|| {
            let rows = floats(x, self.dim(), Kind::Double);
            let w = &self.well;
            let slope = (rows.square() * (4.0 * w.quartic) + 2.0 * w.quadratic) * &rows + w.linear;
            let grad = slope.where_self(&self.wells.to_device(rows.device()), &rows);
            Evaluation::new(x.shallow_clone(), self.energy(x), grad)
        })
    }
}

impl Base for ManyWell {
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        let normal = rng.normal(&[n as i64, self.dim()], Kind::Double, Device::Cpu);
        let draws = self.well.draws(n * self.dim() as usize, rng);
        Tensor::from_slice(&draws).view([n as i64, self.dim()]).where_self(&self.wells, &normal)
    }

    fn log_z(&self) -> f64 {
        self.log_z
    }
}

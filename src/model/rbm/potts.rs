//! Give visible units with q states each, as one-hot columns: amino acids, words, classes.

use super::visible::refuse;
use super::{Rbm, RbmShape, Units, Visible, sum};
use crate::density::check_rows;
use crate::error::{Error, Result};
use crate::numeric::Rng;
use tch::{Kind, Tensor};

/// Units with q states: unit j is the columns jq … jq + q − 1 of v, of which one is 1 and the others 0; d_v = units · q.
///
/// E(v) = −b·v, and p(unit j in state s | h) is the softmax of g over the q columns of j. A constant that is added to all q
/// columns of a unit, in b or in a column of W, changes c and log Z alone: parameters are determined up to that.
#[derive(Debug, Clone, Copy)]
pub struct Potts {
    q: i64,
}

impl Potts {
    /// With q states per unit.
    ///
    /// # Errors
    /// q < 2.
    pub fn new(q: i64) -> Result<Self> {
        if q < 2 {
            return Err(Error::param("q", q, "at least 2 states per unit"));
        }
        Ok(Potts { q })
    }

    /// `[n, units · q]` → `[n, units, q]`.
    fn by_unit(&self, t: &Tensor) -> Tensor {
        t.reshape([t.size()[0], -1, self.q])
    }

    /// Whether `d_v` columns are whole units.
    fn check_width(&self, d_v: i64) -> Result<()> {
        if d_v % self.q == 0 {
            return Ok(());
        }
        Err(Error::param("q", self.q, format!("a number that divides the {d_v} columns of v: q columns for each unit")))
    }
}

/// Σ over units of log Σ_s e^{g_s}.
fn log_sums(by_unit: &Tensor) -> Tensor {
    sum(&by_unit.to_kind(Kind::Double).logsumexp(-1, false))
}

impl Visible for Potts {
    fn name(&self) -> &'static str {
        "potts"
    }

    fn levels(&self) -> Option<i64> {
        Some(self.q)
    }

    fn columns(&self) -> i64 {
        self.q
    }

    fn with_parameter(&self, _: Option<Tensor>) -> Box<dyn Visible> {
        Box::new(*self)
    }

    /// By inverting the distribution function of each unit, in f64.
    fn draw(&self, of: &Units, h: &Tensor, rng: &mut Rng) -> Tensor {
        let g = self.input(of, h);
        let below = self.by_unit(&g.to_kind(Kind::Double)).softmax(-1, None::<Kind>).cumsum(-1, None::<Kind>);
        let size = below.size();
        let u = rng.uniform_tensor(&[size[0], size[1], 1], Kind::Double, g.device());
        // the last sum is 1 but for rounding
        let state = below.narrow(-1, 0, self.q - 1).le_tensor(&u).sum_dim_intlist(-1, false, Kind::Int64);
        state.one_hot(self.q).to_kind(g.kind()).reshape([size[0], -1])
    }

    fn log_density(&self, v: &Tensor, g: &Tensor) -> Tensor {
        sum(&(g * v)) - log_sums(&self.by_unit(g))
    }

    fn log_sum(&self, of: &Units, h: &Tensor) -> Tensor {
        log_sums(&self.by_unit(&self.input(of, h)))
    }

    fn mean(&self, g: &Tensor) -> Tensor {
        self.by_unit(g).softmax(-1, None::<Kind>).reshape(g.size())
    }

    fn mean_square(&self, mean: &Tensor) -> Tensor {
        mean.shallow_clone()
    }

    fn encode(&self, numbers: &Tensor) -> Tensor {
        let hot = numbers.to_kind(Kind::Int64).one_hot(self.q);
        hot.reshape([numbers.size()[0], -1]).to_kind(Kind::Double)
    }

    fn alternatives(&self, v: &Tensor, unit: &Tensor) -> Vec<Tensor> {
        // the state of the unit moved on cyclically by 1 … q − 1
        let columns = unit * self.q + Tensor::arange(self.q, (Kind::Int64, v.device()));
        let own = v.gather(1, &columns, false);
        (1..self.q).map(|by| v.scatter(1, &columns, &own.roll([by], [1]))).collect()
    }

    fn check(&self, v: &Tensor) -> Result<()> {
        self.check_width(v.size().last().copied().unwrap_or(0))?;
        let expected = format!("one 1 and {} zeros in the {} columns of a Potts unit (`one_hot`)", self.q - 1, self.q);
        refuse(v, |v| (v * (v - 1.0)).ne(0.0), &expected)?;
        let wrong = |v: &Tensor| {
            let count = self.by_unit(v).sum_dim_intlist(-1, true, None::<Kind>);
            count.ne(1.0).expand_as(&self.by_unit(v)).reshape(v.size())
        };
        refuse(v, wrong, &expected)
    }
}

/// Rows of states, `[n, units]` of whole numbers 0 … q − 1, as one-hot rows `[n, units · q]` of the same kind: what
/// [`Rbm::potts`] takes.
///
/// ```
/// use jarzynski::{model::one_hot, tch::Tensor};
/// let rows = one_hot(&Tensor::from_slice(&[0.0, 2.0]).view([1, 2]), 3).unwrap();
/// assert_eq!(Vec::<f64>::try_from(rows.view(-1)).unwrap(), [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
/// ```
///
/// # Errors
/// q < 2, other numbers than 0 … q − 1.
pub fn one_hot(states: &Tensor, q: i64) -> Result<Tensor> {
    let potts = Potts::new(q)?;
    let width = states.size().last().copied().unwrap_or(0);
    check_rows("states", states, width)?;
    let wrong = |s: &Tensor| s.ne_tensor(&s.floor()).logical_or(&s.lt(0.0)).logical_or(&s.ge(q as f64));
    refuse(states, wrong, &format!("a whole number from 0 to {}", q - 1))?;
    Ok(potts.encode(states).to_kind(states.kind()))
}

impl Units {
    /// Visible units with q states: W `[units · q, d_h]`, b `[units · q]`, c `[d_h]`.
    ///
    /// # Errors
    /// Shapes that do not fit, a width that q does not divide, numbers that are not finite.
    pub fn potts(w: &Tensor, b: &Tensor, c: &Tensor, q: i64) -> Result<Self> {
        let potts = Potts::new(q)?;
        potts.check_width(b.size().first().copied().unwrap_or(0))?;
        Self::new(w, b, c, Box::new(potts))
    }
}

impl Rbm {
    /// Visible units with q states, for one-hot data `[n, units · q]` ([`one_hot`] makes such rows), with the data's kind and
    /// device.
    ///
    /// # Errors
    /// Rows that are not one-hot, q < 2, no hidden unit, a scale that is negative.
    pub fn potts(data: &Tensor, q: i64, shape: &RbmShape) -> Result<Self> {
        let potts = Potts::new(q)?;
        super::check_start(data, &potts)?;
        let (mean, n) = (data.mean_dim(0, false, None::<Kind>), data.size()[0] as f64);
        // one observation, spread over the states
        let share = (&mean * n + 1.0 / q as f64) / (n + 1.0);
        Self::build(share.log(), Box::new(potts), shape, shape.centred.then_some(mean))
    }
}

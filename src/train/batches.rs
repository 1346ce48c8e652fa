//! Draw batches of data: every row once per epoch, in a fresh order, with fresh noise or bits if `data_noise` says so.

use crate::density::{Model, first_row, rows_as, rows_for};
use crate::error::{Error, Result, guard};
use crate::io::Checkpoint;
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// What is drawn anew whenever rows of the data are visited, by the run's own stream of randomness: a resumed run draws what the
/// uninterrupted one would have drawn.
///
/// ```
/// use jarzynski::{Settings, train::DataNoise};
/// let noisy = Settings { data_noise: 0.3.into(), ..Default::default() };
/// let binarised = Settings { data_noise: DataNoise::Bits, ..Default::default() };
/// assert_ne!(noisy, binarised);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum DataNoise {
    /// Gaussian noise of this standard deviation, in the data's units, added to every number; 0 for none.
    Gaussian(f64),
    /// Each number of the data is a probability: 1 with that probability, else 0, independently. For models of zeros and ones.
    #[serde(with = "bits")]
    Bits,
}

/// The word that stands for [`DataNoise::Bits`] where settings are written down.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str("bits")
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<(), D::Error> {
        match String::deserialize(from)?.as_str() {
            "bits" => Ok(()),
            other => Err(D::Error::custom(format!("{other}: expected a number or \"bits\""))),
        }
    }
}

impl Default for DataNoise {
    fn default() -> Self {
        DataNoise::Gaussian(0.0)
    }
}

impl From<f64> for DataNoise {
    fn from(sigma: f64) -> Self {
        DataNoise::Gaussian(sigma)
    }
}

impl DataNoise {
    pub(super) fn validate(self) -> Result<()> {
        match self {
            DataNoise::Gaussian(sigma) => super::non_negative("data_noise", sigma),
            DataNoise::Bits => Ok(()),
        }
    }

    /// Rows of data as the trainer keeps them: as the model takes them, or probabilities where bits are to be drawn.
    pub(super) fn rows<M: Model>(self, model: &M, data: &Tensor) -> Result<Tensor> {
        if self != DataNoise::Bits {
            return rows_for(model, "data", data);
        }
        let x = rows_as("data", data, model.dim(), model.options())?;
        if !model.is_binary() {
            let expected = "Gaussian noise or none: only a model of zeros and ones has bits for data";
            return Err(Error::param("data_noise", "\"bits\"", expected));
        }
        let outside = |x: &Tensor| x.lt(0.0).logical_or(&x.gt(1.0));
        match guard(|| Ok(first_row(&x, outside)))? {
            Some(row) => Err(Error::param("data", format!("row {row}"), "probabilities, between 0 and 1")),
            None => Ok(x),
        }
    }
}

/// A data set with the order of the present epoch.
#[derive(Debug)]
pub(super) struct Batches {
    data: Tensor,
    size: usize,
    noise: DataNoise,
    /// Rows that are to come in this epoch, taken from the end.
    order: Tensor,
    rng: Rng,
}

impl Batches {
    /// Batches of `size` rows of `data` `[n, d]`; `None` is all of it, and more than n rows go through several epochs.
    pub fn new(data: Tensor, size: Option<usize>, noise: impl Into<DataNoise>, rng: Rng) -> Self {
        let order = Tensor::zeros([0], (Kind::Int64, data.device()));
        let size = size.unwrap_or(data.size()[0] as usize);
        Batches { data, size, noise: noise.into(), order, rng }
    }

    /// The next batch, `[size, d]`.
    pub fn next(&mut self) -> Tensor {
        let n = self.data.size()[0] as usize;
        if self.size == n {
            let all = self.data.shallow_clone();
            return self.visited(all);
        }
        let fresh = |rng: &mut Rng| Tensor::from_slice(&rng.permutation(n)).to_device(self.data.device());
        if self.order.numel() < self.size {
            // what an epoch leaves over is dropped, unless a batch is larger than an epoch
            let kept = if self.size > n { vec![self.order.shallow_clone()] } else { vec![] };
            let missing = self.size - kept.iter().map(Tensor::numel).sum::<usize>();
            let epochs = (0..missing.div_ceil(n)).map(|_| fresh(&mut self.rng));
            self.order = Tensor::cat(&kept.into_iter().chain(epochs).collect::<Vec<_>>(), 0);
        }
        let rest = (self.order.numel() - self.size) as i64;
        let rows = self.order.narrow(0, rest, self.size as i64);
        self.order = self.order.narrow(0, 0, rest);
        let x = self.data.index_select(0, &rows);
        self.visited(x)
    }

    /// `n` rows drawn with replacement, and the generator for what follows.
    pub fn draw(&mut self, n: usize) -> (Tensor, &mut Rng) {
        let rows = self.rng.index_tensor(self.data.size()[0] as usize, n, self.data.device());
        let x = self.data.index_select(0, &rows);
        (self.visited(x), &mut self.rng)
    }

    fn visited(&mut self, x: Tensor) -> Tensor {
        match self.noise {
            DataNoise::Gaussian(0.0) => x,
            DataNoise::Gaussian(sigma) => &x + self.rng.normal(&x.size(), x.kind(), x.device()) * sigma,
            DataNoise::Bits => {
                // in f64: rounded to f32 the uniform number could be 1, and a certain bit missing
                let u = self.rng.uniform_tensor(&x.size(), Kind::Double, x.device());
                u.lt_tensor(&x.to_kind(Kind::Double)).to_kind(x.kind())
            }
        }
    }

    pub fn save(&self, to: &mut Checkpoint, name: &str) -> Result<()> {
        to.put(format!("{name}.order"), &self.order);
        to.put_json(&format!("{name}.rng"), &self.rng)
    }

    pub fn load(&mut self, from: &Checkpoint, name: &str) -> Result<()> {
        self.rng = from.json(&format!("{name}.rng"))?;
        let (order, n) = (from.get(&format!("{name}.order"))?, self.data.size()[0]);
        if let Some(row) = Vec::<i64>::try_from(&order)?.into_iter().find(|row| !(0..n).contains(row)) {
            return Err(Error::param("order of the data", row, format!("a row of the data, 0 to {}", n - 1)));
        }
        self.order = order.to_device(self.data.device());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn every_row_comes_once_per_epoch() {
        let data = Tensor::arange(10, (Kind::Double, Device::Cpu)).unsqueeze(-1);
        let rows = |t: &Tensor| Vec::<f64>::try_from(t.view(-1)).unwrap();
        for (size, calls, times) in [(5, 4, 2), (10, 1, 1), (25, 2, 5), (4, 2, 1)] {
            let mut batches = Batches::new(data.shallow_clone(), Some(size), 0.0, Rng::new(1));
            let mut seen: Vec<f64> = (0..calls).flat_map(|_| rows(&batches.next())).collect();
            assert_eq!(seen.len(), size * calls);
            seen.sort_by(f64::total_cmp);
            let most = (0..10).map(|i| seen.iter().filter(|v| **v == i as f64).count()).max().unwrap();
            assert_eq!(most, times, "batches of {size}: {seen:?}");
        }
    }

    /// The z-scores of each column's share of ones against p, over `draws` draws of n rows.
    fn scores(noise: DataNoise, p: &[f64], draws: usize) -> Vec<f64> {
        let n = 500;
        let data = Tensor::from_slice(p).unsqueeze(0).repeat([n, 1]);
        let mut batches = Batches::new(data, None, noise, Rng::new(3));
        let (mut sum, count) = (Tensor::zeros([p.len() as i64], (Kind::Double, Device::Cpu)), draws as f64 * n as f64);
        for _ in 0..draws {
            sum += batches.next().sum_dim_intlist(0, false, Kind::Double);
        }
        let mean = Vec::<f64>::try_from(sum / count).unwrap();
        mean.iter().zip(p).map(|(m, p)| (m - p) / (p * (1.0 - p) / count).sqrt().max(1e-12)).collect()
    }

    #[test]
    fn bits_come_with_the_probabilities_that_the_data_are() {
        let p = [0.0, 0.02, 0.3, 0.5, 0.9, 1.0];
        let z = scores(DataNoise::Bits, &p, 200);
        assert!(z.iter().all(|z| z.abs() < 5.0), "{z:?}");
        // the twin: other probabilities
        let off = scores(DataNoise::Bits, &p.map(|p: f64| p * 0.95), 200);
        let shifted: Vec<f64> =
            off.iter().zip(&p).map(|(z, p)| z - 0.05 * p / (p * (1.0 - p) / 1e5).sqrt().max(1e-12)).collect();
        assert!(shifted.iter().any(|z| z.abs() > 5.0), "{shifted:?}");
        let mut batches =
            Batches::new(Tensor::full([4, 3], 0.4, (Kind::Float, Device::Cpu)), Some(3), DataNoise::Bits, Rng::new(1));
        let (a, b) = (batches.next(), batches.draw(3).0);
        for x in [&a, &b] {
            assert!(bool::try_from((x * (x - 1.0)).eq(0.0).all()).unwrap() && x.kind() == Kind::Float);
        }
        assert!(!a.equal(&b), "anew at every visit");
    }

    #[test]
    fn restored_batches_draw_the_bits_that_would_have_come() {
        let data = Rng::new(4).uniform_tensor(&[10, 6], Kind::Float, Device::Cpu);
        let fresh = || Batches::new(data.shallow_clone(), Some(4), DataNoise::Bits, Rng::new(5));
        let (mut whole, mut again, mut file) = (fresh(), fresh(), Checkpoint::default());
        (0..3).for_each(|_| drop(whole.next()));
        whole.save(&mut file, "data").unwrap();
        let expected = whole.next();
        assert!(!fresh().next().equal(&expected), "the twin: without the checkpoint other bits come");
        again.load(&file, "data").unwrap();
        assert!(again.next().equal(&expected));
    }
}

//! Draw batches of data: every row once per epoch, in a fresh order, with fresh noise if `data_noise` is set.

use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::numeric::Rng;
use tch::{Kind, Tensor};

/// A data set with the order of the present epoch.
#[derive(Debug)]
pub(super) struct Batches {
    data: Tensor,
    size: usize,
    /// Standard deviation of the noise added to every batch.
    noise: f64,
    /// Rows that are to come in this epoch, taken from the end.
    order: Tensor,
    rng: Rng,
}

impl Batches {
    /// Batches of `size` rows of `data` `[n, d]`; `None` is all of it, and more than n rows go through several epochs.
    pub fn new(data: Tensor, size: Option<usize>, noise: f64, rng: Rng) -> Self {
        let order = Tensor::zeros([0], (Kind::Int64, data.device()));
        let size = size.unwrap_or(data.size()[0] as usize);
        Batches { data, size, noise, order, rng }
    }

    /// The next batch, `[size, d]`.
    pub fn next(&mut self) -> Tensor {
        let n = self.data.size()[0] as usize;
        if self.size == n {
            let all = self.data.shallow_clone();
            return self.with_noise(all);
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
        self.with_noise(x)
    }

    /// `n` rows drawn with replacement, and the generator for what follows.
    pub fn draw(&mut self, n: usize) -> (Tensor, &mut Rng) {
        let rows = self.rng.index_tensor(self.data.size()[0] as usize, n, self.data.device());
        let x = self.data.index_select(0, &rows);
        (self.with_noise(x), &mut self.rng)
    }

    fn with_noise(&mut self, x: Tensor) -> Tensor {
        match self.noise {
            0.0 => x,
            sigma => &x + self.rng.normal(&x.size(), x.kind(), x.device()) * sigma,
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
}

//! Give the networks that a noise ladder can learn with: an MLP along the principal axes, or a CNN of the pixels.

use super::net::{convolve, linear};
use super::time_mlp::{TimeMlp, time_features};
use super::{ZEROS, widths_in_range};
use crate::density::Axes;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use tch::nn::{self, ConvConfig};
use tch::{Kind, Tensor};

/// The network of a [`NoiseLadder`](super::NoiseLadder): one number of a point and a noise level, whose last layer starts at zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum LadderNet {
    /// An MLP of the leading principal axes, each divided by its standard deviation.
    Mlp {
        /// Hidden widths.
        widths: Vec<i64>,
        /// How many of the data's principal axes it sees, the leading ones; `None`: those whose standard deviation is at least
        /// half the lowest noise. Along the others the model is what is known exactly.
        axes: Option<usize>,
    },
    /// Convolutions of 3×3 pixels, the first of stride 1 and the others of stride 2, each scaled and shifted by the noise level; read
    /// out from the mean of every layer and from the pixels of the last. It sees a Gaussian's guess of the clean image. The slope of
    /// such an energy passes up through the same layers, as the second half of a U-Net does.
    Cnn {
        /// Channels of the convolutions.
        channels: Vec<i64>,
        /// Channels, height and width of an image; for images of one channel height and width alone, as
        /// [`Dataset::shape`](crate::data::Dataset::shape) has it.
        image: Vec<i64>,
    },
}

impl LadderNet {
    /// An MLP of these hidden widths, of the axes that stand out of the noise.
    pub fn mlp(widths: &[i64]) -> Self {
        LadderNet::Mlp { widths: widths.to_vec(), axes: None }
    }

    /// A CNN of these channels for images of this shape.
    pub fn cnn(channels: &[i64], image: &[i64]) -> Self {
        LadderNet::Cnn { channels: channels.to_vec(), image: image.to_vec() }
    }
}

/// What a network was made of.
#[derive(Debug)]
pub(super) enum Layers {
    Mlp(TimeMlp),
    Cnn(ImageNet),
}

#[derive(Debug)]
pub(super) struct ImageNet {
    convs: Vec<nn::Conv2D>,
    levels: Vec<nn::Linear>,
    head: nn::Linear,
    last: nn::Linear,
    image: [i64; 3],
    frequencies: usize,
    inner: Option<Kind>,
}

/// The network with what it needs to know of the data's axes.
#[derive(Debug)]
pub(super) struct Net {
    layers: Layers,
    /// How many of the axes an MLP sees, the last ones; all for a CNN.
    pub seen: i64,
}

impl Net {
    /// Layers under `path`, the last one called `last`. `standing_out` axes are seen where the shape does not say how many.
    ///
    /// # Errors
    /// Settings out of range.
    pub fn new(
        path: &nn::Path,
        net: &LadderNet,
        d: i64,
        standing_out: i64,
        frequencies: usize,
        mixed: bool,
    ) -> Result<Self> {
        let inner = mixed.then_some(Kind::BFloat16);
        match net {
            LadderNet::Mlp { widths, axes } => {
                widths_in_range("widths", widths)?;
                let seen = axes.map_or(Ok(standing_out), |n| within("axes", n, d))?;
                let mut layers = TimeMlp::new(path, seen, widths, 1, frequencies, 1.0);
                layers.inner = inner;
                Ok(Net { layers: Layers::Mlp(layers), seen })
            }
            LadderNet::Cnn { channels, image } => {
                widths_in_range("channels", channels)?;
                let image = match image[..] {
                    [height, width] => [1, height, width],
                    [colours, height, width] => [colours, height, width],
                    _ => return Err(wrong_image(image, d)),
                };
                if image.iter().any(|side| *side < 1)
                    || image.iter().try_fold(1_i64, |p, s| p.checked_mul(*s)) != Some(d)
                {
                    return Err(wrong_image(&image, d));
                }
                let layers = ImageNet { inner, ..ImageNet::new(path, channels, image, frequencies) };
                Ok(Net { layers: Layers::Cnn(layers), seen: d })
            }
        }
    }

    /// f at rows u `[n, d]` along the axes, or along leading ones among which are all that it sees, in units of the spread there, with noise of variance `noise` `[n or 1, 1]` at times t
    /// `[n or 1, 1]`: `[n]`.
    pub fn forward(&self, axes: &Axes, u: &Tensor, noise: &Tensor, t: &Tensor) -> Tensor {
        match &self.layers {
            Layers::Mlp(layers) => {
                let leading = |all: &Tensor| all.narrow(-1, all.size().last().map_or(0, |n| n - self.seen), self.seen);
                let v = leading(axes.variances());
                let w = leading(u) * v.sqrt() / (noise + &v).sqrt();
                layers.forward(&w, t).squeeze_dim(-1)
            }
            Layers::Cnn(layers) => {
                let v = axes.variances();
                layers.forward(&axes.from_axes(&(u * (v / (noise + v).sqrt()))), t)
            }
        }
    }
}

fn wrong_image(image: &[i64], d: i64) -> Error {
    let expected = format!("[height, width] or [channels, height, width] with product {d}");
    Error::Shape { name: "image", got: image.to_vec(), expected }
}

/// A count of axes out of d.
pub(super) fn within(name: &'static str, n: usize, d: i64) -> Result<i64> {
    let found = i64::try_from(n).ok().filter(|n| (1..=d).contains(n));
    found.ok_or_else(|| Error::param(name, n, format!("1 to {d}")))
}

/// Of convolution i.
fn stride(i: usize) -> i64 {
    if i == 0 { 1 } else { 2 }
}

impl ImageNet {
    fn new(path: &nn::Path, channels: &[i64], image: [i64; 3], frequencies: usize) -> Self {
        let linear = |name: &str, a: i64, b: i64| nn::linear(path / name, a, b, ZEROS);
        let features = 1 + 2 * frequencies as i64;
        let (mut convs, mut levels, mut from) = (Vec::new(), Vec::new(), image[0]);
        let (mut height, mut width) = (image[1], image[2]);
        for (i, &to) in channels.iter().enumerate() {
            let stride = stride(i);
            let config = ConvConfig {
                stride,
                padding: 1,
                ws_init: nn::Init::Const(0.0),
                bs_init: nn::Init::Const(0.0),
                ..Default::default()
            };
            convs.push(nn::conv2d(path / format!("conv{i}"), from, to, 3, config));
            levels.push(linear(&format!("level{i}"), features, 2 * to));
            (height, width, from) = ((height - 1) / stride + 1, (width - 1) / stride + 1, to);
        }
        let means: i64 = channels[..channels.len() - 1].iter().sum();
        let hidden = 2 * from;
        let head = linear("head", means + from * height * width, hidden);
        ImageNet { convs, levels, head, last: linear("last", hidden, 1), image, frequencies, inner: None }
    }

    /// Pixels `[n, d]` and times `[n or 1, 1]` → `[n]`.
    fn forward(&self, pixels: &Tensor, t: &Tensor) -> Tensor {
        let inner = self.inner;
        let [colours, height, width] = self.image;
        let features = time_features(t, self.frequencies);
        let mut h = pixels.view([-1, colours, height, width]);
        let mut read = Vec::new();
        for (i, (conv, level)) in self.convs.iter().zip(&self.levels).enumerate() {
            let z = convolve(conv, &h, stride(i), inner);
            let by_level = linear(level, &features, inner).unsqueeze(-1).unsqueeze(-1).chunk(2, 1);
            h = (&z * (&by_level[0] + 1.0) + &by_level[1]).silu();
            let last = i + 1 == self.convs.len();
            read.push(if last { h.flatten(1, -1) } else { h.mean_dim([2_i64, 3].as_slice(), false, None::<Kind>) });
        }
        let hidden = linear(&self.head, &Tensor::cat(&read, 1), inner).silu().to_kind(pixels.kind());
        linear(&self.last, &hidden, None).squeeze_dim(-1)
    }
}

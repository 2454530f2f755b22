//! Charts as SVG text: 720 px wide, white, in the colour-blind safe palette of Okabe and
//! Ito (2008), readable without colour too (markers, dashes).
//!
//! Fonts are the reader's own (`sans-serif`): nothing is read from the system. Text never
//! stands on the data: the legend is below the plot. Points that are not finite are left
//! out of lines and marked with a × on the axis, and the legend says so.
//!
//! | Chart | Function |
//! |---|---|
//! | Accuracy against drift, with bands and a paper's values | [`line_chart`] |
//! | Histograms that share bins | [`histogram_chart`] |
//! | A matrix, a confusion matrix | [`heatmap`], [`confusion_heatmap`] |
//! | Methods side by side with error bars | [`bar_chart`] |
//! | A loss over a plane: bands and lines, or seen as a surface | [`contour`], [`surface`] |
//! | Densities of eigenvalues | [`spectrum`] |
//! | Masks, fields, modulators: pictures of pixels | [`pictures`] |

mod axis;
mod bar;
mod canvas;
mod color_bar;
mod contour;
mod field;
mod frame;
mod heatmap;
mod histogram;
mod legend;
mod line;
mod palette;
mod pictures;
mod relief;
mod spectrum;
mod surface;
mod text;

pub use axis::Axis;
pub use bar::{BarSeries, bar_chart};
pub use contour::contour;
pub use heatmap::{Heatmap, confusion_heatmap, heatmap};
pub use histogram::{Histogram, bin_edges, histogram_chart};
pub use line::{LineSeries, line_chart};
pub use pictures::{Colours, Picture, pictures};
pub use relief::Relief;
pub use spectrum::{SpectralDensity, spectrum};
pub use surface::surface;

/// The width of every chart but the narrower heat maps.
const WIDTH_PX: f64 = 720.0;

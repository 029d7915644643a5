//! Both seams together.

use super::carrier::Carrier;
use super::recording::Recording;

/// Everything that the broker acts through: implemented by whatever has both seams.
pub trait Output: Carrier + Recording {}

impl<T: Carrier + Recording> Output for T {}

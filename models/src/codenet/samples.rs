//! Data for networks that have learned nothing: scenes with the boxes that a detector of these
//! classes should find.

use super::{Configuration, Scene};
use crate::generated::{BOXES, Generated, Task};
use crate::scene;

/// Scenes for calibration, and for evaluation after them.
const SCENES: [u64; 2] = [8, 4];

/// The scenes as an `.npz` file.
pub fn archive(configuration: &Configuration) -> Vec<u8> {
    let size = configuration.size();
    let scenes: Vec<Scene> = (0..SCENES.iter().sum()).map(|index| configuration.scene(size, index)).collect();
    scene::archive(size, &scenes)
}

/// The task file of a configuration.
pub fn task(configuration: &Configuration) -> String {
    let rest = format!(
        r#"{BOXES}
[decode]
kind = "centernet"
heatmap = "heatmap"
size = "size"
size_form = "linear"
offset = "offset"
stride = 4
limit = 100
"#
    );
    let note = "it finds nothing, and its AP50 is near 0";
    let task = Task { note, metric: "ap50", scenes: SCENES, normalization: [&[0.0], &[1.0]], rest: &rest };
    task.text(configuration.name())
}

"""A synthetic source: parametric mice seen from above, filmed by several invented laboratories.

`anatomy` bends a mouse and knows its keypoints, `scene` draws it, `labs` decides what each laboratory
films and how it names what. Serves tests, the demo where no real video is at hand, and pretraining.
"""

from converters.synthetic.labs import LABS, Frame, Lab, lab_named, render_frame, render_video, synthesize

__all__ = ["LABS", "Frame", "Lab", "lab_named", "render_frame", "render_video", "synthesize"]

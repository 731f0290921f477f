"""The network as a fragment shader: any graphics processor with OpenGL 3.2 or WebGL 2 draws it.

A model, a look and a view become arrays for textures and uniforms, and text in GLSL 1.50 or
GLSL ES 3.00. Nothing here knows who draws: :mod:`amgsrn_core.vtk`, a web page, or a context of our
own (:mod:`amgsrn_core.shader.offscreen`). NumPy is all that it takes.
"""

from amgsrn_core.shader.look import PackedLook
from amgsrn_core.shader.packing import PackedModel
from amgsrn_core.shader.source import fragment_source
from amgsrn_core.shader.view import view_uniforms

__all__ = ["PackedLook", "PackedModel", "fragment_source", "view_uniforms"]

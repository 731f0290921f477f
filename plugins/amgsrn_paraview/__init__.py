"""ParaView's side of AMGSRN: thin Python algorithms behind the proxies of ``xml/AMGSRN.xml``.

Each proxy names a class of this package. Everything that computes lives in :mod:`amgsrn_core`,
which knows nothing of ParaView; importing this package imports neither VTK nor PyTorch.
"""

from __future__ import annotations

from amgsrn_paraview.search_path import extend_search_path

extend_search_path()

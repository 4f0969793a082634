"""What stood in scipy.misc when autograd was young."""

from typing import Any

from tensorgrad.compat.autograd.scipy import special as _special

logsumexp: Any = _special.logsumexp

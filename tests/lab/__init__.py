"""What the tests share. A folder with tests in it has a link `lab` to this one, so that all import it in one way:

    from lab import Lab, is_, main, ok, test, wait_for
    from lab.proxy import HttpProxy

Here is what most need; what few need is in the modules beside this one.
"""

from .process import BUILD, PATIENCE, WRAPPER, Process, clean_environment, end_all, program, wait_for
from .project import BOUNCER, IMAGE, VARIANT, Lab
from .simulator import TRELLIS, Sim
from .tap import cases, is_, main, ok, test

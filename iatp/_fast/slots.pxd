# Fields of msgspec structs, read where they lie.
#
# A field is a slot of its struct, and the interpreter's way to it (the name is looked up in the
# type, a descriptor is asked) takes ten times as long as the read. The descriptor knows the
# place; it is asked once.
from cpython.object cimport PyObject, PyTypeObject

cdef extern from "structmember.h":
    ctypedef struct PyMemberDef:
        Py_ssize_t offset

cdef extern from "Python.h":
    ctypedef struct PyMemberDescrObject:
        PyMemberDef* d_member
    PyTypeObject PyMemberDescr_Type
    bint Py_IS_TYPE(object one, PyTypeObject* expected)


cdef inline Py_ssize_t slot_of(object struct, str name) except -1:
    """Where the field of this name lies in a struct of this very type."""
    descriptor = struct.__dict__[name]
    if not Py_IS_TYPE(descriptor, &PyMemberDescr_Type):
        raise TypeError(f"{struct.__name__}.{name} is not a slot")
    return (<PyMemberDescrObject*>descriptor).d_member.offset


cdef inline object slot(object owner, object struct, Py_ssize_t at):
    """The field that lies there. A struct is made whole, so it is set."""
    if type(owner) is not struct:
        raise TypeError(f"expected {struct.__name__}, got {type(owner).__name__}")
    return <object>(<PyObject**>(<char*><PyObject*>owner + at))[0]

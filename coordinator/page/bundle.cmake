# Several modules as one, without their comments: a page then loads in a handful of requests, and a report is one file.
# Imports go away, exports become plain declarations; that works because the modules share one space of names and
# import nothing by another name.
#
#   cmake -DOUT=FILE -DFILES="svg.js|...|app.js" -P bundle.cmake        FILES in the order of their need, relative to this folder
string(REPLACE "|" ";" names "${FILES}")
set(bundle "\n")
foreach(name IN LISTS names)
  file(READ "${CMAKE_CURRENT_LIST_DIR}/${name}" text)
  string(APPEND bundle "${text}\n")
endforeach()
# What CMake takes for a list or an escape stays as it is: nothing below splits the text.
if(OUT MATCHES "js$")
  string(REGEX REPLACE "\n[ \t]*//[^\n]*" "" bundle "${bundle}")
  string(REGEX REPLACE "\nimport [^;]*;" "" bundle "${bundle}")
  string(REPLACE "\nexport " "\n" bundle "${bundle}")
else()
  string(REGEX REPLACE "/\\*[^*]*\\*/" "" bundle "${bundle}")
endif()
string(REGEX REPLACE "\n[ \t]+" "\n" bundle "${bundle}")
string(REGEX REPLACE "\n\n+" "\n" bundle "${bundle}")
string(STRIP "${bundle}" bundle)
file(WRITE "${OUT}" "${bundle}\n")

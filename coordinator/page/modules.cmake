# The modules of the page and of the one-file report, in the order of their need, and how they become one.
set(HONE_PAGE_FOLDER ${CMAKE_CURRENT_LIST_DIR})
set(HONE_PLOT_MODULES plots/svg.js plots/format.js plots/columns.js plots/model.js plots/scatter.js plots/parallel.js plots/bars.js
  plots/timeline.js plots/distribution.js plots/figures.js dom.js job_head.js trial_table.js)
set(HONE_APP_MODULES ${HONE_PLOT_MODULES} plots/history.js api.js live.js pages/jobs.js pages/job.js pages/trial.js pages/compare.js
  pages/fleet.js pages/nightly.js app.js)
set(HONE_REPORT_MODULES ${HONE_PLOT_MODULES} report.js)
set(HONE_STYLES plots/plots.css style.css)

# hone_bundle(OUT FILE ...): writes OUT from files of the page's folder, anew when one of them changes.
function(hone_bundle out)
  list(JOIN ARGN "|" names)
  list(TRANSFORM ARGN PREPEND ${HONE_PAGE_FOLDER}/ OUTPUT_VARIABLE files)
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DOUT=${out} "-DFILES=${names}" -P ${HONE_PAGE_FOLDER}/bundle.cmake
    DEPENDS ${files} ${HONE_PAGE_FOLDER}/bundle.cmake VERBATIM)
endfunction()

# hone_embed(OUT.cc NAME FILE): FILE as the constant NAME.
function(hone_embed out name file)
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DIN=${file} -DOUT=${out} -DNAME=${name} -P ${HONE_PAGE_FOLDER}/embed.cmake
    DEPENDS ${file} ${HONE_PAGE_FOLDER}/embed.cmake VERBATIM)
  # A page is longer than the literals that every compiler must take.
  set_source_files_properties(${out} PROPERTIES COMPILE_OPTIONS -Wno-overlength-strings SKIP_UNITY_BUILD_INCLUSION ON
    SKIP_PRECOMPILE_HEADERS ON)
endfunction()
